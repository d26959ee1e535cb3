"""What the load test takes from Locust, gevent and websocket-client beyond what they document.

Each version of theirs may change it, so each is named here; pyproject.toml has the versions that may be installed.
`python -m tests.loadtest.contracts` checks them all.
"""

import inspect
import socket

import gevent
import gevent.socket
import websocket
from locust import LoadTestShape
from locust.env import Environment
from locust.event import EventHook
from locust.runners import STATE_INIT, STATE_MISSING, MasterRunner, Runner, WorkerRunner
from locust.user import User


def a_runner_hands_a_custom_message_to_its_listener_within_one_process_as_it_is():
    runner = Environment(user_classes=[]).create_local_runner()
    heard = []
    runner.register_message("x", lambda environment, msg, **_: heard.append(msg.data))
    what = object()
    runner.send_message("x", what, None)
    assert heard == [what]
    assert isinstance(runner.client_id, str) and runner.worker_index == 0


def an_error_in_the_listener_of_a_message_does_not_get_out_of_a_master_or_a_worker():
    for runner in (MasterRunner, WorkerRunner):
        assert "Uncaught exception in handler" in inspect.getsource(runner.handle_message)


def a_worker_sends_its_statistics_when_it_is_told_to_and_its_master_waits_half_a_second_for_the_last():
    assert 'Message("stats", data, self.client_id)' in inspect.getsource(WorkerRunner._send_stats)
    assert "gevent.sleep(0.5)" in inspect.getsource(MasterRunner.quit)


def a_runner_knows_how_many_users_are_wanted_and_in_which_state_it_is():
    runner = Environment(user_classes=[]).create_local_runner()
    assert runner.target_user_count == 0 and runner.state == STATE_INIT and STATE_MISSING == "missing"


def a_load_shape_may_be_given_before_the_start_with_a_runner():
    class Shape(LoadTestShape):
        def tick(self):
            return None

    environment = Environment(user_classes=[])
    environment.shape_class = Shape()
    environment.shape_class.runner = environment.create_local_runner()
    environment.shape_class.reset_time()
    assert environment.shape_class.get_run_time() < 5


def a_user_that_is_stopped_gets_a_greenlet_exit_and_its_end_is_waited_for():
    source = inspect.getsource(Runner.stop_users)
    assert "user_to_stop.stop, force=True" in source and "async_calls_to_stop.join()" in source
    assert "killone" in inspect.getsource(User.stop)


def the_exit_status_can_be_set_and_listeners_of_the_end_are_told_in_reverse():
    assert Environment().process_exit_code is None
    told, hook = [], EventHook()
    for number in (1, 2):
        hook.add_listener(lambda number=number, **_: told.append(number))
    hook.fire(reverse=True)
    assert told == [2, 1]


def gevents_loop_watches_a_descriptor_and_its_socket_has_the_real_one():
    left, right = socket.socketpair()
    here = gevent.socket.socket(fileno=left.detach())
    watcher, seen = gevent.get_hub().loop.io(here.fileno(), 1), []
    watcher.start(lambda: (seen.append(here._sock.recvmsg(10)[0]), watcher.stop()))
    right.send(b"x")
    gevent.sleep(0.1)
    assert seen == [b"x"]
    watcher.close()


def gevent_hands_an_error_that_is_none_to_the_main_greenlet_without_a_traceback():
    hub = gevent.get_hub()
    assert isinstance(hub.NOT_ERROR, tuple) and hub.parent is gevent.getcurrent()


def gevent_idle_waits_until_nothing_else_is_to_be_done():
    order = []

    def busy():
        for _ in range(3):
            order.append("busy")
            gevent.sleep(0)

    def idle():
        gevent.idle()
        order.append("idle")

    gevent.joinall([gevent.spawn(idle), gevent.spawn(busy)])
    assert order[-1] == "idle", order


def websocket_client_takes_a_socket_lets_its_errors_through_and_goes_on_after_them():
    class NothingYet(Exception):
        pass

    class Socket:
        def __init__(self):
            self.chunks = [b"\x81", NothingYet(), b"\x02hi"]

        def recv(self, size):
            chunk = self.chunks.pop(0) if self.chunks else NothingYet()
            if isinstance(chunk, Exception):
                raise chunk
            if len(chunk) > size:
                self.chunks.insert(0, chunk[size:])
            return chunk[:size]

        def gettimeout(self):
            return None

        def fileno(self):
            return -1

    one = websocket.WebSocket(skip_utf8_validation=True)
    one.sock, one.connected = Socket(), True
    frames, interrupted = websocket._abnf.frame_buffer(one._recv, True), 0
    try:
        frames.recv_frame()
    except NothingYet:
        interrupted += 1
    assert interrupted
    frame = frames.recv_frame()
    assert (frame.opcode, frame.data) == (websocket.ABNF.OPCODE_TEXT, b"hi")
    assert frames.recv_buffer == [] and not one.lock.locked()


if __name__ == "__main__":
    for name, contract in list(vars().items()):
        if inspect.isfunction(contract):
            print(name)
            contract()
