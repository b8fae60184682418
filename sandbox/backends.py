"""The sandboxes by name, and `open_sandbox`."""

from __future__ import annotations

import warnings
from typing import Any, cast

from stepgym.plugins.registry import Registry
from stepgym.plugins.settings import accepted
from stepgym.sandbox.types import Sandbox, SandboxError

SANDBOXES = Registry(
    "sandbox",
    {
        "auto": "stepgym.sandbox.backends:open_docker_or_local",
        "docker": "stepgym.sandbox.docker:DockerSandbox",
        "local": "stepgym.sandbox.local:LocalSandbox",
        "scripted": "stepgym.sandbox.scripted:ScriptedSandbox",
    },
    "stepgym.sandboxes",
)


def open_sandbox(name: str = "auto", **options: Any) -> Sandbox:
    """Open the sandbox called `name`; it is a context manager.

    `auto` is Docker if an engine is running, otherwise the local sandbox (with a warning), provided that this machine can hide its
    files from programs (on a weaker machine, ask for `local` by name). `options` are those of the backend
    (`workers=`, `runtime=`). Raises `SandboxError` if the backend cannot start, `UnknownNameError` for an unknown
    name, `SettingError` for an unknown option.
    """
    return cast(Sandbox, SANDBOXES.load(name, **options))


def open_docker_or_local(**options: Any) -> Sandbox:
    """Open the sandbox `auto`. If Docker fails and an option is Docker's own, its fault is the one to report."""
    try:
        return open_sandbox("docker", **options)
    except SandboxError as fault:
        known = accepted(SANDBOXES.find("local")).hints
        lacking = [option for option in options if option not in known]
        if lacking:
            raise SandboxError(
                f"{fault} (the local sandbox has no option {', '.join(lacking)})"
            ) from fault
        sandbox = open_sandbox("local", **{"demand_file_protection": True, **options})
        warnings.warn(f"using the local sandbox: {fault}", stacklevel=2)
        return sandbox
