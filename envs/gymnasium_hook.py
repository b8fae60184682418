"""Registers the environments as soon as Gymnasium is imported.

`import stepgym` makes `gymnasium.make("stepgym/...")` work in either order of imports. It does not import Gymnasium for
that, because Gymnasium and numpy take ten times as long to import as stepgym, and a process that only verifies answers
or runs a sandbox needs neither.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from stepgym.envs.registry import register_all


def register_with_gymnasium() -> None:
    """Register now if Gymnasium is imported already, otherwise at the end of its import."""
    if "gymnasium" in sys.modules:
        register_all()
    elif not any(isinstance(finder, GymnasiumFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, GymnasiumFinder())


class GymnasiumFinder:
    """Finds `gymnasium` through the other finders and adds the registration to the end of its import."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "gymnasium":
            return None
        found = (
            other.find_spec(name, path, target) for other in sys.meta_path if other is not self
        )
        spec = next((spec for spec in found if spec is not None), None)
        loader = spec.loader if spec is not None else None
        if loader is not None:
            run = loader.exec_module

            def run_and_register(module: ModuleType) -> None:
                run(module)
                register_all()
                if self in sys.meta_path:
                    sys.meta_path.remove(self)

            loader.exec_module = run_and_register  # type: ignore[method-assign]
        return spec
