"""The notebooks in a real JupyterLab, begun as `make lab` begins it, in a real browser: as a learner runs them."""

import json
import os
import signal
import socket
import stat
import subprocess
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from chatlab import local_cloud, poll
from chatlab.local_cloud import kill_session
from chatlab.notebooks import BUILD, CAPSTONE, MEASURE, OPTIONAL, TEARDOWN
from chatlab.paths import ROOT
from tests.support.processes import documented, environment_of_a_run, processes_of, what_listens

TOKEN = "for-this-test"
ONE_NOTEBOOK_MS = 300_000


def lab_command():
    """The last command of `make lab`; the ones before it install what is installed here."""
    printed = subprocess.run(["make", "--just-print", "lab"], cwd=ROOT, capture_output=True, text=True, check=True)
    return printed.stdout[printed.stdout.index("JUPYTER_CONFIG_PATH") :]


@contextmanager
def jupyterlab(folder):
    """The address of a JupyterLab that saves nothing, with its settings in `folder`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configuration = folder / "config"
    settings = configuration / "lab" / "user-settings" / "@jupyterlab" / "docmanager-extension"
    settings.mkdir(parents=True)
    (settings / "plugin.jupyterlab-settings").write_text(json.dumps({"autosave": False}))
    (configuration / "jupyter_server_config.json").write_text(
        json.dumps({"LabApp": {"expose_app_in_browser": True}, "IdentityProvider": {"token": TOKEN}})
    )
    environment = environment_of_a_run(
        folder / "home", JUPYTER_CONFIG_DIR=str(configuration), JUPYTER_DATA_DIR=str(folder / "data"),
        JUPYTER_PORT=str(port), BROWSER="true",
        PATH=f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
    )  # fmt: skip
    with (folder / "log.txt").open("wb") as log:
        server = subprocess.Popen(
            lab_command(), shell=True, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            address = f"http://127.0.0.1:{port}"
            poll(lambda: is_up(address), "JupyterLab", timeout_s=60, every_s=0.1)
            yield address
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(timeout=20)
            finally:
                kill_session(server.pid)


def is_up(address):
    try:
        with urlopen(f"{address}/api", timeout=1):
            return True
    except (URLError, OSError):
        return False


class Learner:
    """A person at JupyterLab: what they do, and what they see."""

    def __init__(self, page):
        self._page = page
        self.errors = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))

    def come(self, address):
        """Open JupyterLab at the page that `make lab` opens: the first notebook."""
        self._page.goto(f"{address}/lab/tree/notebooks/00_start.ipynb?token={TOKEN}")
        self._page.locator(".jp-NotebookPanel").wait_for(timeout=60_000)
        self._wait_for_kernel()

    def open(self, name):
        """Open a notebook."""
        path = f"notebooks/{name}.ipynb"
        self._page.evaluate("path => void jupyterapp.commands.execute('docmanager:open', { path })", path)
        self._page.wait_for_function("path => jupyterapp.shell.currentWidget?.context?.path === path", arg=path)
        self._wait_for_kernel()

    def _wait_for_kernel(self):
        self._page.evaluate("""async () => {
            const { context, sessionContext } = jupyterapp.shell.currentWidget;
            await context.ready;
            await sessionContext.ready;
        }""")

    def run_all(self):
        """Choose "Run All Cells" of the menu Run, and wait until all are done."""
        self._page.get_by_role("menuitem", name="Run", exact=True).click()
        self._page.locator("li[data-command='runmenu:run-all']").click()
        self._wait_for_cells()

    def run_one_by_one(self):
        """Press Shift-Enter on each cell, and wait each time until it is done."""
        self._page.evaluate("jupyterapp.shell.currentWidget.content.activeCellIndex = 0")
        self._page.evaluate("jupyterapp.shell.currentWidget.content.activate()")
        for _ in range(self._page.evaluate("jupyterapp.shell.currentWidget.content.widgets.length")):
            self._page.keyboard.press("Shift+Enter")
            self._wait_for_cells()

    def _wait_for_cells(self):
        self._page.wait_for_timeout(50)  # until the cell is asked for
        self._page.wait_for_function(
            """() => jupyterapp.shell.currentWidget.content.widgets.every(cell =>
                cell.model.type !== "code" || cell.model.executionState !== "running")""",
            timeout=ONE_NOTEBOOK_MS,
        )

    def notifications(self):
        """What JupyterLab asks or tells in the corner."""
        return self._page.locator(".Toastify__toast").all_inner_texts()

    def outputs(self):
        """The code cells of the notebook in front: (execution count, outputs) each."""
        found = self._page.evaluate(
            """() => jupyterapp.shell.currentWidget.content.widgets
                .filter(cell => cell.model.type === "code")
                .map(cell => [cell.model.executionCount, cell.model.sharedModel.toJSON().outputs])"""
        )
        return [SimpleNamespace(count=count, outputs=outputs) for count, outputs in found]

    def close(self):
        """Close the notebook in front, and end its kernel."""
        self._page.evaluate(
            """async () => {
                const widget = jupyterapp.shell.currentWidget;
                await widget.sessionContext.shutdown();
                widget.context.model.dirty = false;
                widget.dispose();
            }"""
        )


@contextmanager
def learner_at(launch, tmp_path):
    """A learner in front of JupyterLab, who finds nothing wrong with it."""
    browser = launch("")
    try:
        with jupyterlab(tmp_path) as address:
            learner = Learner(browser.new_page(viewport={"width": 1280, "height": 900}))
            learner.come(address)
            yield learner
            assert learner.errors == []
    finally:
        browser.close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CHATLAB_HOME", str(tmp_path / "home"))
            local_cloud.stop()


def failures(cells):
    return [output for cell in cells for output in cell.outputs if output["output_type"] == "error"]


def test_a_notebook_runs_cell_by_cell_and_only_its_owner_can_enter_where_its_kernel_s_sockets_are(launch, tmp_path):
    with what_listens(tmp_path) as listened, learner_at(launch, tmp_path) as learner:
        learner.run_one_by_one()
        *cells, new = learner.outputs()  # the last Shift-Enter adds a cell
        assert [cell.count for cell in cells] == list(range(1, len(cells) + 1))
        assert new.count is None
        assert failures(cells) == []
        assert learner.notifications() == []  # nobody is asked about news
        (kernel,) = (process for process in processes_of(tmp_path) if "ipykernel_launcher" in process.cmdline())
        folder = Path(kernel.cmdline()[-1]).parent
        assert len(list(folder.glob("kernel-*-ipc-*"))) == 5
        assert (stat.S_IMODE(folder.stat().st_mode) & 0o777, folder.stat().st_uid) == (0o700, os.getuid())
    assert not folder.exists()
    assert listened == documented("`make lab`")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_notebook_runs_from_top_to_bottom(launch, tmp_path):
    with learner_at(launch, tmp_path) as learner:
        for name in [*BUILD, *MEASURE, CAPSTONE, *OPTIONAL.values(), TEARDOWN]:
            learner.open(name)
            learner.run_all()
            cells = learner.outputs()
            assert failures(cells) == [], name
            assert all(cell.count for cell in cells), name
            assert any(cell.outputs for cell in cells), name
            learner.close()
        assert learner.notifications() == []
