"""`python -m chatlab.rehearsal`: see `chatlab.rehearsal.rehearse`."""

from chatlab import entry_point

if __name__ == "__main__":
    entry_point.run("chatlab.rehearsal.rehearse")
