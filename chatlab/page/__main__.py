"""`python -m chatlab.page`: see `chatlab.page.server`."""

from chatlab import entry_point

if __name__ == "__main__":
    entry_point.run("chatlab.page.server")
