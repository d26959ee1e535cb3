"""AWS's answers where no AWS is to be had: botocore's Stubber's."""

from botocore.stub import Stubber


def answering(client, *answers):
    """The boto3 `client`, which gives these answers in turn: pairs of an operation, and what it says or the error code
    with which it fails."""
    stubber = Stubber(client)
    for operation, answer in answers:
        if isinstance(answer, str):
            stubber.add_client_error(operation, answer)
        else:
            stubber.add_response(operation, answer)
    stubber.activate()
    return client
