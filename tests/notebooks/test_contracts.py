"""What `chatlab.notebooks` takes from nbclient beyond what it documents.

Each version of nbclient may change it: pyproject.toml has the versions that may be installed.
"""

import inspect
import os

import nbformat
from nbclient import NotebookClient


class Client(NotebookClient):
    """Overrides what `chatlab.notebooks` overrides, and records the calls."""

    def __init__(self, notebook):
        super().__init__(notebook, kernel_name="python3", timeout=60)
        self.calls, self.pid = [], None

    async def async_start_new_kernel(self, **options):
        await super().async_start_new_kernel(**options)
        self.calls.append("start")
        self.pid = self.km.provisioner.pid

    def process_message(self, msg, cell, cell_index):
        self.calls.append(msg["msg_type"])
        return super().process_message(msg, cell, cell_index)


def test_a_client_starts_its_kernel_and_handles_its_messages_by_methods_that_can_be_overridden():
    client = Client(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import os; print(os.getpid())")]))
    client.execute()
    assert client.calls[0] == "start"
    assert "stream" in client.calls
    (output,) = client.nb.cells[0].outputs
    assert int(output.text) == client.pid != os.getpid()


def test_a_client_cleans_up_its_kernel_by_a_method_that_can_be_overridden():
    assert callable(NotebookClient._cleanup_kernel)
    assert "self._cleanup_kernel" in inspect.getsource(NotebookClient)


def test_a_client_calls_on_cell_start_with_the_cell_and_its_index():
    cell, calls = nbformat.v4.new_code_cell("1"), []
    client = NotebookClient(
        nbformat.v4.new_notebook(cells=[cell]),
        kernel_name="python3",
        timeout=60,
        on_cell_start=lambda cell, cell_index: calls.append((cell.source, cell_index)),
    )
    client.execute()
    assert calls == [("1", 0)]
