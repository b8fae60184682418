"""What one machine has for a run: versions, processors, and whether programs can run in a sandbox.

The sandbox is tried with a program. Not covered: the guarantees of each sandbox, which `stepgym sandbox doctor` probes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from stepgym.plugins.processors import num_processors
from stepgym.sandbox.backends import open_sandbox
from stepgym.sandbox.docker import connect, engine_faults
from stepgym.sandbox.types import Program, SandboxError

ENGINE_TIMEOUT_S = 5.0


class NodeReport(NamedTuple):
    """One machine, as a process of this package sees it."""

    host: str
    python: str
    stepgym: str
    """Version, and a hash of the package's source files."""
    torch: str | None
    torch_threads: int | None
    """Threads that a process uses for arithmetic; `None` without torch."""
    processors: int
    engine: str | None
    """Why no container engine answers; `None` if one does."""
    sandbox: str | None
    """The sandbox that `auto` opens here (`docker`, `local`); `None` if a program cannot be run."""
    sandbox_fault: str | None


def examine_machine() -> NodeReport:
    """Look at the machine that this process runs on."""
    sandbox, fault = _sandbox()
    torch, threads = _torch()
    return NodeReport(
        host=platform.node(),
        python=platform.python_version(),
        stepgym=f"{_version('stepgym') or 'not installed'} {source_hash()}",
        torch=torch,
        torch_threads=threads,
        processors=num_processors(),
        engine=_engine_fault(),
        sandbox=sandbox,
        sandbox_fault=fault,
    )


def source_hash() -> str:
    """Return a short hash of the package's source files, equal where they are."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for folder, _, names in sorted(os.walk(root, followlinks=True)):  # rooms may be links
        for name in sorted(names):
            if name.endswith(".py"):
                digest.update(name.encode())
                digest.update(Path(folder, name).read_bytes())
    return digest.hexdigest()[:8]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _torch() -> tuple[str | None, int | None]:
    if importlib.util.find_spec("torch") is None:
        return None, None
    import torch

    return str(torch.__version__), torch.get_num_threads()


def _engine_fault() -> str | None:
    try:
        with engine_faults():
            connect(ENGINE_TIMEOUT_S).close()
    except SandboxError as error:
        return str(error)
    return None


def _sandbox() -> tuple[str | None, str | None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the report says which sandbox it is
            with open_sandbox("auto", workers=1) as sandbox:
                [result] = sandbox.run([Program("print(6 * 7)")])
    except SandboxError as error:
        return None, str(error)
    if result.stdout.strip() != "42":
        return None, f"a program that prints 42 printed {result.stdout!r:.80} ({result.reason})"
    return type(sandbox).__name__.removesuffix("Sandbox").lower(), None
