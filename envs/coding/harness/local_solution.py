"""The solution in the tests' own process, for the style `one_process`. It can read and change everything here."""

import itertools
import json
import sys
import types

from stepgym.sandbox.runner.codec import Unpacker
from stepgym.sandbox.runner.link import Broken


class LocalSolution:
    """Stands in for `stepgym.sandbox.runner.tester.Remote`, with a module of this process behind it."""

    def __init__(self, source, mark):
        self.source, self.mark = source, mark
        self.broken = None
        self.observed = {}
        self.names_got = set()
        self.uses_logs = False
        self._asked = itertools.count()
        self._module = None

    @property
    def sequence(self):
        return next(self._asked)

    def load(self):
        if self._module is None:
            self._module = sys.modules["solution"] = types.ModuleType("solution")
            try:
                exec(
                    compile(self.source, "<solution>", "exec", dont_inherit=True),
                    vars(self._module),
                )
            except SystemExit as ending:
                if ending.code not in (None, 0):
                    self._break(ending)
            except (
                BaseException
            ) as error:  # whatever a solution raises while it loads is its own fault
                self._break(error)

    def _break(self, error):
        text = f"it does not load: {type(error).__name__}: {error}"
        self.broken = Broken("load", text[:500])
        raise self.broken from None

    def get(self, name):
        self.load()
        self.names_got.add(name)
        return getattr(self._module, name)

    def defined(self, names):
        self.load()
        return [name for name in names if name in vars(self._module)]

    def ask(self, operation, target, args=()):
        self.load()
        return {"setattr": setattr, "delattr": delattr}[operation](self._module, *args)

    def observe(self, what, which):
        self.observed.setdefault(what, []).append(which)

    def compile(self, source, name, rewrite):
        return compile(rewrite(source), name, "exec", dont_inherit=True)

    def unpacker(self):
        return Unpacker(_no_objects)

    def report(self, finding):
        print(f"\n{self.mark}{json.dumps(finding)}", flush=True)

    def _nothing(self, *args, **named):
        """Do what one process needs no help for."""

    foresee_calls = write_back = share_state = declare_classes = _nothing
    replace = restore = seeded = _nothing


def _no_objects(tree):
    raise ValueError("an object where there is none")
