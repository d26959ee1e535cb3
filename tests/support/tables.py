"""Tables that tests print: what they have measured."""


def reported(request, *columns):
    """For a fixture: yields a list that takes rows, each a tuple, and prints them as a table at the end."""
    rows = []
    yield rows
    print_table(request, columns, rows)


def print_table(request, columns, rows):
    """Print a table in Markdown, past pytest's capturing: what a test measures, as docs/reliability.md has it."""
    lines = [columns, ["---"] * len(columns), *rows]
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("", *(f"| {' | '.join(map(str, line))} |" for line in lines), sep="\n")
