"""Which route takes a message, where the emulator does not do as API Gateway.

A message can't select `$connect` and `$disconnect`: "API Gateway calls" these "when a persistent connection [...] is
being initiated", and when one ends. And whatever can't be read as JSON goes to `$default`.
https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-develop-routes.html
"""

from ministack.services import apigateway

DEFAULT, OF_CONNECTIONS = "$default", {"$connect", "$disconnect"}


def select_routes_as_api_gateway() -> None:
    """From now on, in this process."""
    evaluate = apigateway._evaluate_route_selection

    def evaluate_route_selection(expression: str, text: str) -> str:
        try:
            route_key: str = evaluate(expression, text)
        except RecursionError:  # JSON that is nested thousands deep: it would end the connection
            return DEFAULT
        return DEFAULT if route_key in OF_CONNECTIONS else route_key

    apigateway._evaluate_route_selection = evaluate_route_selection
