"""The sandboxes by name, and `open_sandbox`."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

from stepgym.plugins.names import resolve, unknown_name
from stepgym.sandbox.types import Sandbox, SandboxError

BACKENDS = {
    "docker": "stepgym.sandbox.docker:DockerSandbox",
    "local": "stepgym.sandbox.local:LocalSandbox",
    "scripted": "stepgym.sandbox.scripted:ScriptedSandbox",
}


def open_sandbox(name: str = "auto", **options: Any) -> Sandbox:
    """Open the sandbox called `name`, a context manager.

    `auto` is Docker if an engine answers, and otherwise the local sandbox, with a warning. It refuses the local one
    where this machine cannot keep programs from its files; ask for `local` by name there. A dotted path
    `package.module:Class` and entry points of the group `stepgym.sandboxes` are names too. `options` go to the
    backend's constructor (`workers=`, `runtime=`...). Raises `SandboxError` if the backend cannot start,
    `UnknownNameError` for an unknown name or option.
    """
    if name == "auto":
        try:
            return open_sandbox("docker", **options)
        except SandboxError as error:
            return _open_local_instead(options, error)
    backend = _backend(name)
    known = _option_names(backend)
    for option in options:
        if known is not None and option not in known:
            raise unknown_name(f"option of the {name} sandbox", option, known, dotted=False)
    sandbox: Sandbox = backend(**options)
    return sandbox


def _open_local_instead(options: dict[str, Any], fault: SandboxError) -> Sandbox:
    """Open the local sandbox for `auto`; if it lacks one of the options, raise Docker's fault."""
    known = _option_names(_backend("local")) or ()
    lacking = [option for option in options if option not in known]
    if lacking:
        raise SandboxError(
            f"{fault} (the local sandbox has no option {', '.join(lacking)})"
        ) from fault
    sandbox = open_sandbox("local", **{"demand_file_protection": True, **options})
    warnings.warn(f"using the local sandbox: {fault}", stacklevel=4)
    return sandbox


def _backend(name: str) -> Any:
    return resolve(name, kind="sandbox", known={"auto": "", **BACKENDS}, group="stepgym.sandboxes")


def _option_names(backend: Any) -> list[str] | None:
    """Return the names that a backend's constructor takes, `None` if its signature does not tell."""
    try:
        parameters = inspect.signature(backend).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters]
