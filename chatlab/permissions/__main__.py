"""`python -m chatlab.permissions`: see `chatlab.permissions.command`."""

from chatlab import entry_point

if __name__ == "__main__":
    entry_point.run("chatlab.permissions.command")
