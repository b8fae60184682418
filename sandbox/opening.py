"""From a name to a running sandbox."""

from __future__ import annotations

from typing import Any

from stepgym.sandbox.plugins import resolve
from stepgym.sandbox.types import Sandbox, SandboxError

BACKENDS = {
    "docker": "stepgym.sandbox.docker:DockerSandbox",
    "local": "stepgym.sandbox.local:LocalSandbox",
    "scripted": "stepgym.sandbox.scripted:ScriptedSandbox",
}


def open_sandbox(name: str = "auto", **options: Any) -> Sandbox:
    """Open the sandbox called `name`, a context manager.

    `auto` is Docker when an engine answers and otherwise the local one, provided that this machine can keep programs
    from its files (a weaker machine must be asked for as `local`); a dotted path `package.module:Class` and
    entry points of the group `stepgym.sandboxes` are names too. `options` go to the backend's constructor
    (`workers=`, `runtime=`...). Raises `SandboxError` when the backend cannot start, `UnknownNameError` for a
    name nobody knows.
    """
    if name == "auto":
        try:
            return open_sandbox("docker", **options)
        except SandboxError:
            return open_sandbox("local", **{"demand_file_protection": True, **options})
    backend = resolve(name, kind="sandbox", known={"auto": "", **BACKENDS}, group="stepgym.sandboxes")
    sandbox: Sandbox = backend(**options)
    return sandbox
