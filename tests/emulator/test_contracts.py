"""What the emulator takes from MiniStack, which MiniStack does not document, is still there.

Each version of MiniStack may change it: pyproject.toml has the versions that may be installed.
"""

import json
import re
import subprocess
import sys

from chatlab.paths import ROOT

LOOK = """
import importlib, json, sys
print([name for module, name in json.loads(sys.argv[1])
       if not hasattr(importlib.import_module(f"ministack.{module}"), name)])
"""


def test_ministack_still_has_what_the_emulator_takes():
    taken = set()
    for file in (ROOT / "chatlab" / "emulator").glob("*.py"):
        code = file.read_text()
        for package, modules in re.findall(r"^from ministack\.(core|services) import (.+)$", code, re.MULTILINE):
            for module in modules.split(", "):
                names = re.findall(rf"""(?<![\w."]){module}\.(\w+)""", code)
                taken |= {(f"{package}.{module}", name) for name in names}
    assert len(taken) > 40
    # In a process of its own: MiniStack changes the one that imports it.
    look = [sys.executable, "-c", LOOK, json.dumps(sorted(taken))]
    done = subprocess.run(look, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
