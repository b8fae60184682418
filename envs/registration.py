"""When the environments enter Gymnasium's registry: at once where Gymnasium is loaded, else right after it is.

`import stepgym` promises that `gymnasium.make("stepgym/...")` works, in either order of imports. Importing Gymnasium
for that alone would bring numpy into every process that only verifies answers or runs a sandbox. So where Gymnasium
is not loaded yet, a finder stands in front of `sys.meta_path`, lets the others find `gymnasium`, and registers when
its import has ended; then it takes itself away. A failed import leaves it standing for the next attempt.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from importlib.abc import Loader

WATCHED = "gymnasium"


def register_with_gymnasium() -> None:
    """Register now or as soon as Gymnasium is imported; a second call changes nothing."""
    if WATCHED in sys.modules:
        _register_all()
    elif not any(isinstance(finder, GymnasiumWatcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, GymnasiumWatcher())


class GymnasiumWatcher:
    """Finds `gymnasium` through the other finders, to be there when its import ends. Knows no other module."""

    def __init__(self) -> None:
        self._asking = threading.local()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != WATCHED or getattr(self._asking, "now", False):
            return None
        self._asking.now = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking.now = False
        if spec is not None and spec.loader is not None:
            spec.loader = cast("Loader", RegisteringLoader(spec.loader, self))
        return spec

    def done(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)


class RegisteringLoader:
    """Loads as the loader it stands for, puts that one in its place, and registers at the end."""

    def __init__(self, loader: Loader, watcher: GymnasiumWatcher) -> None:
        self._loader = loader
        self._watcher = watcher

    def __getattr__(self, name: str) -> Any:
        return getattr(
            self._loader, name
        )  # whoever only asks for the spec may ask its loader for more

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _register_all()
        self._watcher.done()


def _register_all() -> None:
    from stepgym.envs.registry import register_all

    register_all()
