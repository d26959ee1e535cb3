"""An Event API of AppSync, made by boto3, and people who talk in it over WebSockets."""

import base64
import json
import time
from contextlib import contextmanager

import websocket

MODE = [{"authType": "API_KEY"}]
MODES = dict.fromkeys(("connectionAuthModes", "defaultPublishAuthModes", "defaultSubscribeAuthModes"), MODE)
CONFIG = {"authProviders": MODE} | MODES
CHANNEL = "/room/everybody"


@contextmanager
def api_in(lab):
    """An API with a namespace `room`: its description, as `create_api` has it."""
    appsync = lab.client("appsync")
    api = appsync.create_api(name=lab.event_api, eventConfig=CONFIG, tags=lab.tags)["api"]
    try:
        appsync.create_channel_namespace(apiId=api["apiId"], name="room", tags=lab.tags)
        yield api
    finally:
        appsync.delete_api(apiId=api["apiId"])


def new_key(lab, api, seconds=24 * 3600):
    expires = int(time.time() + seconds)
    return lab.client("appsync").create_api_key(apiId=api["apiId"], expires=expires)["apiKey"]["id"]


def subprotocols(api, key):
    header = json.dumps({"host": api["dns"]["HTTP"], "x-api-key": key}).encode()
    return ["aws-appsync-event-ws", f"header-{base64.urlsafe_b64encode(header).decode().rstrip('=')}"]


def url(api):
    return f"ws://{api['dns']['REALTIME']}/event/realtime"


class Client:
    """Somebody who hears the room."""

    def __init__(self, api, key):
        self.key = key
        self.socket = websocket.create_connection(url(api), timeout=5, subprotocols=subprotocols(api, key))
        self.say(type="connection_init")
        self.hear("connection_ack")
        self.say(type="subscribe", id="s", channel=CHANNEL)
        self.hear("subscribe_success")

    def say(self, **frame):
        self.socket.send(json.dumps(frame | {"authorization": {"x-api-key": self.key}}))

    def publish(self, event):
        self.say(type="publish", id="p", channel=CHANNEL, events=[event])

    def hear(self, kind):
        """The next frame of this kind."""
        while True:
            frame = json.loads(self.socket.recv())
            if frame["type"] == kind:
                return frame
