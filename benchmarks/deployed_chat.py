"""A chat on a local cloud of its own, for as long as a benchmark needs it."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.environment import environment
from chatlab import Lab, LabError, local_cloud
from chatlab.settings import DEFAULT_NAME, Settings


@contextlib.contextmanager
def deployed_chat(name: str = DEFAULT_NAME) -> Iterator[Lab]:
    """A chat of this name, which the notebooks build; its local cloud is stopped at the end.

    Raises:
        LabError: in one sentence, if a notebook fails.
    """
    from chatlab.notebooks import BUILD, execute  # a second and more, which notebook 07 need not wait for

    with tempfile.TemporaryDirectory() as folder, environment({"CHATLAB_HOME": folder, "CHATLAB_RUN": None}):
        try:
            for notebook in BUILD[:-1]:  # all but the page
                outcome = execute(notebook, Path(folder) / f"{notebook}.ipynb", Settings(name=name).parameters)
                if not outcome.ok:
                    raise LabError(f"{notebook}, {outcome.reason}")
            yield Lab.load()
        finally:
            local_cloud.stop()
