"""Python packages for programs in a sandbox: their source, files and preloading.

A package is copied from the folder that `install` filled (`stepgym sandbox build --packages`), or otherwise from the
environment in which stepgym is installed. Its dependencies come with it. Not covered: packages that need a service, a
network or more threads than a program may have.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stepgym.sandbox.types import SandboxError

DEFAULT = ("numpy",)
"""What a sandbox carries if its environment has it."""


@dataclass(frozen=True, slots=True)
class Packages:
    """Packages as files of this machine."""

    versions: tuple[str, ...] = ()
    """`name==version` of each, dependencies included."""
    entries: Mapping[str, Path] | None = None
    """Name in the packages' folder -> path on this machine."""
    modules: frozenset[str] = frozenset()
    """Top-level names that programs can import."""

    def __bool__(self) -> bool:
        return bool(self.entries)

    @property
    def paths(self) -> list[Path]:
        """The paths of all entries, sorted."""
        return sorted((self.entries or {}).values())

    @property
    def digest(self) -> str:
        """A name for exactly these packages from exactly these folders."""
        text = json.dumps([self.versions, list(map(str, self.paths)), sys.version])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def installed_folder() -> Path:
    """Return the folder that `install` fills."""
    version = f"{sys.implementation.cache_tag}"
    return _cache() / f"packages-{version}"


def find(names: Sequence[str] | None) -> Packages:
    """Find packages and all their dependencies.

    `None` takes those of `DEFAULT` that are installed. Raises `SandboxError` for a package that is nowhere.
    """
    waiting = [_normal(bare_name(name)) for name in (DEFAULT if names is None else names)]
    required = set() if names is None else set(waiting)
    found: dict[str, importlib.metadata.Distribution] = {}
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        distribution = _distribution(name)
        if distribution is None:
            if name in required:
                raise SandboxError(
                    f"the package {name!r} is not here; `stepgym sandbox build --packages {name}` installs it"
                )
            continue
        found[name] = distribution
        waiting += _needs(distribution)
    entries: dict[str, Path] = {}
    modules: set[str] = set()
    for distribution in found.values():
        for top in _top_entries(distribution):
            path = Path(str(distribution.locate_file(top))).resolve()
            if path.exists():
                entries[top] = path
                stem = top.removesuffix(".py")
                if stem.isidentifier():
                    modules.add(stem)
    versions = sorted(f"{name}=={found[name].version}" for name in found)
    return Packages(tuple(versions), entries, frozenset(modules))


def lacking(names: Iterable[str], packages: Packages) -> list[str]:
    """Return the names that are not among some packages.

    A version or extra after a name is not compared.
    """
    carried = {version.partition("==")[0] for version in packages.versions}
    return [name for name in names if _normal(bare_name(name)) not in carried]


def installed(names: Iterable[str]) -> list[str]:
    """Return those of the packages that a sandbox could carry here."""
    return [name for name in names if _distribution(_normal(bare_name(name))) is not None]


def bare_name(requirement: str) -> str:
    """Return the name in `name[extra]>=version; marker`."""
    return re.split(r"[\s\[<>=!~(;]", requirement.strip())[0]


def install(names: Sequence[str]) -> dict[str, str]:
    """Install wheels from the user's package index; return `name==version` -> sha256.

    They go to `installed_folder`.

    The hashes are kept in the folder, in `hashes.json`. Raises `SandboxError` with what pip said.
    """
    folder = installed_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--upgrade"),
                *("--only-binary", ":all:", "--target", str(folder), "--report", report.name),
                *names,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = "; ".join(done.stderr.strip().splitlines()[-3:]) or "no message"
            raise SandboxError(f"pip could not install {', '.join(names)}: {last}")
        rows = json.loads(Path(report.name).read_text())["install"]
    file = folder / "hashes.json"
    hashes: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    for row in rows:
        data, archive = row["metadata"], row["download_info"].get("archive_info", {})
        key = f"{data['name']}=={data['version']}"
        hashes[key] = archive.get("hashes", {}).get("sha256", archive.get("hash", ""))
    file.write_text(json.dumps(hashes, indent=1, sort_keys=True) + "\n")
    return hashes


def linked(packages: Packages) -> Path:
    """Return a folder with links to the packages and nothing else.

    It is for a sandbox that shares the files of this machine.
    """
    folder = _cache() / f"links-{packages.digest}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent))
        for name, path in (packages.entries or {}).items():
            (fresh / name).symlink_to(path)
        fresh.chmod(0o755)
        try:
            fresh.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(fresh)
    return folder


def imported(sources: Iterable[str], modules: frozenset[str]) -> frozenset[str]:
    """Return the modules, of those given, that the sources seem to import.

    A module that is listed in error is preloaded for nothing and does no other harm.
    """
    return frozenset(
        module for module in modules if any(_imports(source, module) for source in sources)
    )


def _imports(source: str, module: str) -> bool:
    """Whether a line with the module's name has `import` or `from` before it."""
    place = source.find(module)
    while place >= 0:
        before = source[max(0, place - MAX_STATEMENT) : place].replace("\\n", "\n")
        if IMPORT.search(before):
            return True
        place = source.find(module, place + len(module))
    return False


MAX_STATEMENT = 120
IMPORT = re.compile(r"\b(?:from|import)[ \t][^\n;]*\Z")


def _distribution(name: str) -> importlib.metadata.Distribution | None:
    for path in ([str(installed_folder())], sys.path):
        for found in importlib.metadata.Distribution.discover(name=name, path=path):
            return found
    return None


def _needs(distribution: importlib.metadata.Distribution) -> list[str]:
    """Return the names of what a distribution always needs; those for other systems are not installed here."""
    needs = []
    for line in distribution.requires or ():
        requirement, _, marker = line.partition(";")
        if "extra" not in marker:
            needs.append(_normal(bare_name(requirement)))
    return needs


def _top_entries(distribution: importlib.metadata.Distribution) -> set[str]:
    tops = {file.parts[0] for file in distribution.files or ()}
    return {top for top in tops if top not in ("..", "__pycache__", "bin") and "/" not in top}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stepgym"
