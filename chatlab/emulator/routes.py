"""To which route a message goes, where the emulator does not do as API Gateway.

By a message one cannot ask for `$connect` and `$disconnect`: "API Gateway calls" these "when a persistent connection
[...] is being initiated", and when one ends. And whatever cannot be read as JSON goes to `$default`.
https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-develop-routes.html
"""

from ministack.services import apigateway

DEFAULT, OF_CONNECTIONS = "$default", {"$connect", "$disconnect"}


def select_as_api_gateway():
    """From now on, in this process."""
    evaluate = apigateway._evaluate_route_selection

    def evaluate_route_selection(expression, text):
        try:
            key = evaluate(expression, text)
        except RecursionError:  # what is nested thousands deep: it would end the connection
            return DEFAULT
        return DEFAULT if key in OF_CONNECTIONS else key

    apigateway._evaluate_route_selection = evaluate_route_selection
