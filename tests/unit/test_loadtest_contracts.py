"""What the load test takes from Locust, gevent and websocket-client beyond what they document.

Each version of theirs may change it, so each is named here; pyproject.toml has the versions that may be installed.
"""

import subprocess
import sys
import textwrap

import pytest

CONTRACTS = {
    "a runner hands a custom message to its listener, within one process as it is": """
        from locust.env import Environment
        runner = Environment(user_classes=[]).create_local_runner()
        heard = []
        runner.register_message("x", lambda environment, msg, **_: heard.append(msg.data))
        what = object()
        runner.send_message("x", what, None)
        assert heard == [what]
        assert isinstance(runner.client_id, str) and runner.worker_index == 0
    """,
    "an error in the listener of a message does not get out of a master or a worker": """
        import inspect
        from locust.runners import MasterRunner, WorkerRunner
        for runner in (MasterRunner, WorkerRunner):
            assert "Uncaught exception in handler" in inspect.getsource(runner.handle_message)
    """,
    "a worker sends its statistics when it is told to, and its master waits half a second for the last": """
        import inspect
        from locust.runners import MasterRunner, WorkerRunner
        assert 'Message("stats", data, self.client_id)' in inspect.getsource(WorkerRunner._send_stats)
        assert "gevent.sleep(0.5)" in inspect.getsource(MasterRunner.quit)
    """,
    "a runner knows how many users are wanted, and in which state it is": """
        from locust.env import Environment
        from locust.runners import STATE_INIT, STATE_MISSING
        runner = Environment(user_classes=[]).create_local_runner()
        assert runner.target_user_count == 0 and runner.state == STATE_INIT and STATE_MISSING == "missing"
    """,
    "a load shape may be given before the start, with a runner": """
        from locust.env import Environment
        from locust import LoadTestShape
        environment = Environment(user_classes=[])
        class Shape(LoadTestShape):
            def tick(self): return None
        environment.shape_class = Shape()
        environment.shape_class.runner = environment.create_local_runner()
        environment.shape_class.reset_time()
        assert environment.shape_class.get_run_time() < 5
    """,
    "a user that is stopped gets a GreenletExit, and its end is waited for": """
        import inspect
        from locust.runners import Runner
        from locust.user import User
        source = inspect.getsource(Runner.stop_users)
        assert "user_to_stop.stop, force=True" in source and "async_calls_to_stop.join()" in source
        assert "killone" in inspect.getsource(User.stop)
    """,
    "the exit status can be set, and listeners of the end are told in reverse": """
        from locust.env import Environment
        from locust.event import EventHook
        assert Environment().process_exit_code is None
        told, hook = [], EventHook()
        hook.add_listener(lambda **_: told.append(1)); hook.add_listener(lambda **_: told.append(2))
        hook.fire(reverse=True)
        assert told == [2, 1]
    """,
    "gevent's loop watches a descriptor, and its socket has the real one": """
        import gevent, gevent.socket, socket
        left, right = socket.socketpair()
        here = gevent.socket.socket(fileno=left.detach())
        watcher, seen = gevent.get_hub().loop.io(here.fileno(), 1), []
        watcher.start(lambda: (seen.append(here._sock.recvmsg(10)[0]), watcher.stop()))
        right.send(b"x")
        gevent.sleep(0.1)
        assert seen == [b"x"]
        watcher.close()
    """,
    "gevent hands an error that is none to the main greenlet without a traceback": """
        import gevent
        hub = gevent.get_hub()
        assert isinstance(hub.NOT_ERROR, tuple) and hub.parent is gevent.getcurrent()
    """,
    "gevent.idle waits until nothing else is to be done": """
        import gevent
        order = []
        def busy():
            for _ in range(3):
                order.append("busy"); gevent.sleep(0)
        def idle():
            gevent.idle(); order.append("idle")
        gevent.joinall([gevent.spawn(idle), gevent.spawn(busy)])
        assert order[-1] == "idle", order
    """,
    "websocket-client takes a socket, lets its errors through and goes on after them": """
        import websocket
        class Nothing(Exception): pass
        class Socket:
            chunks = [b"\\x81", Nothing(), b"\\x02hi"]
            def recv(self, size):
                chunk = self.chunks.pop(0) if self.chunks else Nothing()
                if isinstance(chunk, Exception): raise chunk
                if len(chunk) > size: self.chunks.insert(0, chunk[size:])
                return chunk[:size]
            def gettimeout(self): return None
            def fileno(self): return -1
        one = websocket.WebSocket(skip_utf8_validation=True)
        one.sock, one.connected = Socket(), True
        frames = websocket._abnf.frame_buffer(one._recv, True)
        try:
            frames.recv_frame(); raise SystemExit("should have been interrupted")
        except Nothing: pass
        frame = frames.recv_frame()
        assert (frame.opcode, frame.data) == (websocket.ABNF.OPCODE_TEXT, b"hi")
        assert frames.recv_buffer == [] and not one.lock.locked()
    """,
}


@pytest.mark.parametrize("contract", CONTRACTS)
def test_they_still_do_what_we_rely_on(contract):
    # In a process of its own: Locust patches the sockets and threads of whoever imports it.
    code = textwrap.dedent(CONTRACTS[contract])
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
