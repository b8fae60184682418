"""The images of the Docker sandbox: an interpreter, the runner, nothing else.

The interpreter comes from `python:X.Y-slim` if the engine has it or a registry answers, and otherwise from this
machine: its own interpreter, standard library and shared libraries, packed into a tar that the engine imports. Thin
layers lie on top: `python` (the runner, for untrusted programs), `tester` (with Hypothesis), `tools` (compilers).
A tag is a digest of the content, so an image is never older than the code that uses it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import IO, Any

from stepgym.sandbox.languages import LANGUAGES
from stepgym.sandbox.packages import Packages
from stepgym.sandbox.types import SandboxError

Log = Callable[[str], None]
RUNNER = Path(__file__).parent / "runner"
BASE = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
"""Of this interpreter's version, because packages are copied from its environment."""
NAME = "stepgym-sandbox"
PACKAGES = ("hypothesis", "_hypothesis_globals", "sortedcontainers", "attr", "attrs")
LEFT_OUT = frozenset(
    [
        "test",
        "tests",
        "idlelib",
        "lib2to3",
        "tkinter",
        "turtledemo",
        "ensurepip",
        "site-packages",
        "dist-packages",
        "pydoc_data",
        "venv",
    ]
)
INSIDE = "/opt/stepgym"
LABELS = {"stepgym.sandbox": "image"}
TIME_ZONES = Path("/usr/share/zoneinfo")
NONE = Packages()
KINDS = ("packages", "python", "tester", "tools")


@cache
def tag(kind: str, packages: str = "") -> str:
    """Return the tag of this version's image of a kind, with packages by their digest."""
    digest = hashlib.sha256(f"{sys.version_info[:3]}{kind}{packages}".encode())
    for path in [*(sorted(RUNNER.glob("*.py")) if kind != "packages" else ()), Path(__file__)]:
        digest.update(path.read_bytes())
    return f"{NAME}:{kind}-{digest.hexdigest()[:16]}"


def ensure(
    client: Any, kind: str, *, packages: Packages = NONE, log: Log = lambda line: None
) -> str:
    """Return the tag of the image with these packages, building it if the engine has none."""
    from docker.errors import ImageNotFound

    name = tag(kind, packages.digest)
    try:
        client.images.get(name)
    except ImageNotFound:
        build(client, kind, packages=packages, log=log)
    return name


def build(
    client: Any, kind: str, *, packages: Packages = NONE, log: Log = lambda line: None
) -> None:
    """Build the image of a kind, and those below it."""
    name = tag(kind, packages.digest)
    if kind == "packages":
        _add_packages(client, name, _base(client, log), packages, log)
    elif kind == "python":
        below = ensure(client, "packages", packages=packages, log=log) if packages else ""
        _layer(client, name, below or _base(client, log), [(RUNNER, "runner")], log)
    elif kind == "tester":
        below = ensure(client, "python", packages=packages, log=log)
        folders = [(path, f"packages/{path.name}") for path in _package_folders()]
        _layer(client, name, below, folders, log)
    else:
        _add_tools(client, name, ensure(client, "python", packages=packages, log=log), log)


def remove_others(client: Any, packages: Packages = NONE) -> list[str]:
    """Remove images of other versions and packages that no container uses; return their tags."""
    from docker.errors import APIError

    removed = []
    current = {tag(kind, packages.digest) for kind in KINDS} | {_own_base()}
    for name in [name for found in client.images.list(name=NAME) for name in found.tags]:
        if name not in current:
            try:
                client.images.remove(name)
            except APIError:
                continue  # in use
            removed.append(name)
    return removed


def _own_base() -> str:
    digest = hashlib.sha256(Path(__file__).read_bytes() + sys.version.encode()).hexdigest()[:16]
    return f"{NAME}:base-{digest}"


def _base(client: Any, log: Log) -> str:
    """Return the image that has an interpreter."""
    from docker.errors import DockerException, ImageNotFound
    from requests.exceptions import RequestException

    own = _own_base()
    for name in (BASE, own):
        try:
            client.images.get(name)
        except ImageNotFound:
            continue
        return name
    try:
        log(f"asking the registry for {BASE}")
        client.images.pull(*BASE.split(":"))
    except (DockerException, RequestException) as error:
        log(
            f"no registry answers ({_first_line(error)}); packing this machine's interpreter instead"
        )
    else:
        return BASE
    with tempfile.TemporaryFile() as packed:
        pack_interpreter(packed)
        packed.seek(0)
        client.api.import_image_from_data(packed.read(), repository=NAME, tag=own.partition(":")[2])
    log(f"imported {own}")
    return own


def pack_interpreter(sink: IO[bytes]) -> None:
    """Write a tar with this machine's interpreter under /usr/local, its standard library and shared libraries."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    executable = Path(os.path.realpath(sys.executable))
    stdlib = Path(
        sysconfig.get_path(
            "stdlib", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix}
        )
    )
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for folder in ("proc", "dev", "etc", "usr/local/bin", "channel"):
            _add_folder(tar, folder, 0o755)
        _add_folder(tar, "tmp", 0o1777)
        _add_bytes(
            tar, "etc/passwd", b"root:x:0:0::/:/bin/false\nnobody:x:65534:65534::/tmp:/bin/false\n"
        )
        _add_file(tar, executable, "usr/local/bin/python3", 0o755)
        binaries = [executable]
        for path in _files(stdlib):
            if not LEFT_OUT & set(path.relative_to(stdlib).parts) and not path.parts[-2].startswith(
                "config-"
            ):
                _add_file(tar, path, f"usr/local/lib/{version}/{path.relative_to(stdlib)}")
                if path.suffix == ".so":
                    binaries.append(path)
        for (
            package
        ) in _package_folders():  # what property tests import may need libraries of its own
            binaries += [path for path in _files(package) if path.suffix == ".so"]
        for path in _files(TIME_ZONES) if TIME_ZONES.is_dir() else []:
            _add_file(tar, path, str(path).lstrip("/"))
        for library in shared_libraries(binaries):
            _add_file(tar, library, str(library).lstrip("/"), 0o755)


def shared_libraries(binaries: Iterable[Path]) -> list[Path]:
    """List the shared libraries that the dynamic loader would give these binaries."""
    ldd = shutil.which("ldd")
    if ldd is None:
        raise SandboxError(
            f"cannot pack this machine's interpreter without `ldd`; let the engine pull {BASE}"
        )
    done = subprocess.run(
        [ldd, *map(str, binaries)], capture_output=True, text=True, timeout=60, check=False
    )
    found = re.findall(r"(?:=>\s*|^\s+)(/\S+) \(0x", done.stdout, flags=re.MULTILINE)
    return sorted({Path(name) for name in found})


def _add_packages(client: Any, name: str, base: str, packages: Packages, log: Log) -> None:
    """Build `base` plus the packages, and the shared libraries that they need of this machine."""
    binaries = []
    with tempfile.TemporaryFile() as packed:
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for entry, top in (packages.entries or {}).items():
                for path in _files(top):
                    if "__pycache__" not in path.parts:
                        inner = f"files/site/{entry}/{path.relative_to(top)}"
                        _add_file(tar, path, inner.removesuffix("/."))
                        if ".so" in path.suffixes:
                            binaries.append(path)
            dockerfile = f"FROM {base}\nCOPY files {INSIDE}\n"
            libraries = [] if _is_public(client, base) else shared_libraries(binaries)
            for library in libraries:
                if not any(library.is_relative_to(top.parent) for top in packages.paths):
                    _add_file(tar, library, f"libraries{library}", 0o755)
                    dockerfile += f"COPY libraries{library} {library}\n"
            dockerfile += _compiling(["site"])
            _add_bytes(tar, "Dockerfile", dockerfile.encode())
        _build(client, name, packed, log)


def _layer(client: Any, name: str, base: str, folders: list[tuple[Path, str]], log: Log) -> None:
    """Build `base` plus copies of folders, compiled, under the names given."""
    with tempfile.TemporaryFile() as packed:
        with tarfile.open(fileobj=packed, mode="w") as tar:
            compiled = sorted({target.partition("/")[0] for _, target in folders})
            dockerfile = f"FROM {base}\nCOPY files {INSIDE}\n{_compiling(compiled)}"
            _add_bytes(tar, "Dockerfile", dockerfile.encode())
            for folder, target in folders:
                for path in _files(folder):
                    if path.suffix in (".py", ".txt", ".json", ".pyi", ".so"):
                        inner = f"files/{target}/{path.relative_to(folder)}"
                        _add_file(tar, path, inner.removesuffix("/."))
        _build(client, name, packed, log)


def _compiling(folders: Iterable[str]) -> str:
    """Return the line of a Dockerfile that compiles these folders."""
    words = ["python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    return f"RUN {json.dumps(words + [f'{INSIDE}/{folder}' for folder in folders])}\n"


def _build(client: Any, name: str, packed: IO[bytes], log: Log) -> None:
    from docker.errors import BuildError

    packed.seek(0)
    try:
        client.images.build(
            fileobj=packed,
            custom_context=True,
            tag=name,
            labels=LABELS,
            rm=True,
            forcerm=True,
            timeout=600,
        )
    except BuildError as error:
        raise SandboxError(f"the engine could not build the image {name}: {error}") from error
    log(f"built {name}")


def _add_tools(client: Any, name: str, base: str, log: Log) -> None:
    """Build `base` plus the tools of every language: from this machine's Debian packages, else by apt-get."""
    names = sorted({language.tool for language in LANGUAGES.values()})
    with tempfile.TemporaryFile() as packed:
        with tarfile.open(fileobj=packed, mode="w") as tar:
            if shutil.which("dpkg-query") and not _is_public(client, base):
                _add_bytes(tar, "Dockerfile", f"FROM {base}\nADD tools.tar /\n".encode())
                with tempfile.TemporaryFile() as inner:
                    pack_packages(names, inner)
                    entry = tarfile.TarInfo("tools.tar")
                    entry.size = inner.tell()
                    inner.seek(0)
                    tar.addfile(entry, inner)
            else:
                install = f"apt-get update && apt-get install -y --no-install-recommends {' '.join(names)} libc6-dev"
                _add_bytes(
                    tar,
                    "Dockerfile",
                    f"FROM {base}\nRUN {install} && rm -rf /var/lib/apt\n".encode(),
                )
        _build(client, name, packed, log)


def _is_public(client: Any, name: str) -> bool:
    """Whether an image is built on `BASE` and so has a package manager of its own."""
    from docker.errors import ImageNotFound

    try:
        layers = client.images.get(BASE).attrs["RootFS"]["Layers"]
    except ImageNotFound:
        return False
    return bool(client.images.get(name).attrs["RootFS"]["Layers"][: len(layers)] == layers)


def pack_packages(names: Iterable[str], sink: IO[bytes]) -> None:
    """Write a tar with the files of installed Debian packages and of all they depend on."""
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for path in sorted(_package_files(_closure(set(names)))):
            unneeded = path.startswith(
                ("/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/usr/share/info")
            )
            if not unneeded and (os.path.islink(path) or os.path.isfile(path)):
                # Where /lib is a link to /usr/lib, a file listed as /lib/x must not replace the link by a folder.
                folder = os.path.realpath(os.path.dirname(path))
                tar.add(
                    path, arcname=f"{folder}/{os.path.basename(path)}".lstrip("/"), recursive=False
                )
        for link in ("/lib", "/lib64", "/bin"):
            if os.path.islink(link):
                tar.add(link, arcname=link.lstrip("/"), recursive=False)


def _closure(names: set[str]) -> set[str]:
    """Add those dependencies of the packages that are installed."""
    listing = _dpkg("-W", "-f", "${Package}\t${Depends}, ${Pre-Depends}\t${Provides}\n")
    needs: dict[str, list[str]] = {}
    for line in listing.splitlines():
        package, depends, _ = line.split("\t")
        needs[package] = [
            re.split(r"[ :(]", part.strip())[0]
            for part in re.split(r"[,|]", depends)
            if part.strip()
        ]
    absent = names - needs.keys()
    if absent:
        raise SandboxError(
            f"not installed on this machine: {', '.join(sorted(absent))}; apt-get install them"
        )
    reached, waiting = set[str](), list(names)
    while waiting:
        package = waiting.pop()
        if package in needs and package not in reached:
            reached.add(package)
            waiting += needs[package]
    return reached


def _package_files(packages: Iterable[str]) -> set[str]:
    return {line for line in _dpkg("-L", *sorted(packages)).splitlines() if line.startswith("/")}


def _dpkg(*arguments: str) -> str:
    return subprocess.run(
        ["dpkg-query", *arguments], capture_output=True, text=True, timeout=60, check=True
    ).stdout


def _package_folders() -> list[Path]:
    """Find Hypothesis and what it needs on this machine."""
    found = []
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            found.append(
                Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)
            )
    return found


def _files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    return sorted(path for path in folder.rglob("*") if path.is_file() and ".opt-" not in path.name)


def _add_file(tar: tarfile.TarFile, path: Path, name: str, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    # Compiled files are believed only beside a source of the same age.
    entry.size, entry.mode, entry.mtime = path.stat().st_size, mode, int(path.stat().st_mtime)
    with path.open("rb") as stream:
        tar.addfile(entry, stream)


def _add_folder(tar: tarfile.TarFile, name: str, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    tar.addfile(entry)


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    tar.addfile(entry, io.BytesIO(data))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
