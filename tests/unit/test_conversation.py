"""Where there is no browser, notebook 05 shows the pictures that come with the lab."""

import io

from IPython.core.formatters import DisplayFormatter
from PIL import Image

from chatlab import browser
from chatlab.page import conversation
from tests.support.asynchronous import run_async


def test_without_a_browser_there_is_none_and_the_saved_pictures_are_shown(monkeypatch):
    monkeypatch.setattr(browser, "find_executable", lambda: None)
    assert run_async(conversation.chat("http://127.0.0.1:9/", [("Ada", "Hello")])) is None
    shown = conversation.saved()
    assert Image.open(io.BytesIO(shown.data)).width > 2 * 400
    data, metadata = DisplayFormatter().format(shown)
    assert data["image/png"] and metadata["image/png"]["alt"].startswith("A conversation")
