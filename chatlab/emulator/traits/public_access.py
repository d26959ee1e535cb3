"""Block Public Access of a whole account, as an administrator may have set it."""

from chatlab.emulator.api_call import ApiCall
from chatlab.emulator.block_public_access import PATH
from chatlab.emulator.responses import Response, json_error, s3_error
from chatlab.emulator.traits.trait import Trait


class NoPublicBuckets(Trait):
    """The account, which is in no organization, blocks public access to all of its buckets, whatever one is set to.

    Its settings can be read, and here not be changed.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
    """

    SETTINGS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")

    def before(self, call: ApiCall) -> Response | None:
        """The account's settings; a refusal to change them, or to make a bucket public."""
        if call.operation == f"GET {PATH}":
            settings = "".join(f"<{name}>true</{name}>" for name in self.SETTINGS)
            namespace = "http://awss3control.amazonaws.com/doc/2018-08-20/"
            body = f'<PublicAccessBlockConfiguration xmlns="{namespace}">{settings}</PublicAccessBlockConfiguration>'
            return Response(200, [(b"content-type", b"application/xml")], body.encode())
        if call.operation in (f"PUT {PATH}", f"DELETE {PATH}"):
            return s3_error(403, "AccessDenied", "Access Denied")
        if call.operation == "DescribeEffectivePolicy":
            return json_error(
                400, "AWSOrganizationsNotInUseException", "Your account is not a member of an organization."
            )
        if call.service == "s3" and call.operation.startswith("PUT ") and call.query_string == "policy":
            return s3_error(
                403, "AccessDenied",
                "User: arn:aws:iam::000000000000:user/learner is not authorized to perform: s3:PutBucketPolicy because "
                "public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.",
            )  # fmt: skip
        return None
