"""Start the runner under the name of the package it belongs to, in a place where only this folder exists.

`python -S -s -B -P launch.py DESCRIPTOR OPTIONS`, the options being one JSON object, see `supervisor.Options`.
"""

import sys
import types

for _name in ("stepgym", "stepgym.sandbox", "stepgym.sandbox.runner"):
    sys.modules[_name] = types.ModuleType(_name)
    sys.modules[_name].__path__ = [__file__.rpartition("/")[0]]

from stepgym.sandbox.runner import start  # noqa: E402

start.main(int(sys.argv[1]), sys.argv[2])
