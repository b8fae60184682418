"""DockerSandbox: each worker's runner is process 1 of a hardened container that stays up.

The container has no network, no capabilities, no way to gain privileges, no IPC and no writable files but a small
/tmp. It runs as user nobody, with limits on processes, memory and CPU. Programs reach it through one socket in a folder
that only it sees. Not covered: faults of the kernel that all containers share; `runtime="runsc"` (gVisor) or Kata put
another kernel in between.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stepgym.sandbox import docker_image
from stepgym.sandbox.pool import RUNNER_SETTINGS, PooledSandbox
from stepgym.sandbox.process_identity import is_dead, this_process
from stepgym.sandbox.runner import wire
from stepgym.sandbox.runner_client import RunnerClient, RunnerLost
from stepgym.sandbox.types import SandboxError

SESSION_MIB = 2
"""Memory that a container of sessions has for each, on top of that of others."""
READABLE = ["/usr", "/lib", "/lib64", "/bin", "/etc", "/opt", "/dev"]
"""What sessions may read: everything but /proc and each other's files."""
PATIENCE_S = 10.0
"""How long a batch waits for an engine that has gone away."""
START_S = 30.0
OWNER, NOBODY = "stepgym.owner", "65534:65534"
WAY_OUT = "start it (for example `systemctl start docker`), or use the local sandbox"


class EngineUnavailable(SandboxError):
    """The engine does not answer."""


class DockerSandbox(PooledSandbox):
    """Programs in warm containers of the engine that the environment names (`DOCKER_HOST`).

    `memory_mib`, `cpus`, `num_processes` and `disk_mib` bound each container, whatever a program's own limits say.
    `image` replaces the images that are built here; it must hold the runner as they do. `packages` names the Python
    packages that programs can import, numpy by default; see `stepgym.sandbox.packages`.
    At most `max_sessions` sessions have a process at a time.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        max_programs: int = 5000,
        image: str | None = None,
        runtime: str | None = None,
        memory_mib: int = 1024,
        cpus: float = 1.0,
        num_processes: int = 128,
        disk_mib: int = 128,
        packages: Sequence[str] | None = None,
        max_sessions: int = 500,
    ) -> None:
        self.image, self.runtime = image, runtime
        self.memory_mib, self.cpus, self.num_processes, self.disk_mib = (
            memory_mib,
            cpus,
            num_processes,
            disk_mib,
        )
        self._client: Any = None
        options = {"image": image, "runtime": runtime, "memory_mib": memory_mib, "cpus": cpus}
        options |= {"num_processes": num_processes, "disk_mib": disk_mib}
        self.image_lock = threading.Lock()
        with engine_faults():
            remove_leftovers(self.client)
        self.max_sessions = max_sessions
        super().__init__(
            workers=workers,
            max_programs=max_programs,
            packages=packages,
            max_sessions=max_sessions,
            options=options,
        )

    @property
    def client(self) -> Any:
        """The connection to the engine, opened anew after a fork."""
        if self._client is None:
            with engine_faults():
                self._client = connect()
        return self._client

    def after_fork(self) -> None:
        """See `PooledSandbox.after_fork`."""
        self._client = None
        self.image_lock = threading.Lock()
        super().after_fork()

    def open_runner(self, kind: str, preload: Sequence[str] = ()) -> RunnerClient:
        """See `PooledSandbox.open_runner`. An engine that is gone may come back within `PATIENCE_S`."""
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._open_runner(kind, preload)
            except EngineUnavailable:
                self._client = None
                if self.closed or time.monotonic() >= give_up:
                    raise
                time.sleep(0.5)

    def _open_runner(self, kind: str, preload: Sequence[str]) -> RunnerClient:
        folder = Path(tempfile.mkdtemp(prefix="stepgym-", dir=_short_folder()))
        try:
            with engine_faults(), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                (folder / "channel").mkdir()
                (folder / "channel").chmod(0o755)
                listener.bind(str(folder / "channel" / "s"))
                (folder / "channel" / "s").chmod(0o666)
                listener.listen(1)
                container = self._create(kind, preload, folder / "channel")
                try:
                    _start(self.client, container)
                    control = _accept(listener, self.client, container)
                    hello = _hello(control)
                except BaseException:
                    _remove(self.client, container, os.getpid())
                    raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return RunnerClient(
            control, weakref.finalize(control, _remove, self.client, container, os.getpid()), hello
        )

    def _create(self, kind: str, preload: Sequence[str], channel: Path) -> str:
        from docker.errors import ImageNotFound

        for _ in range(2):
            with self.image_lock:
                image = self.image or docker_image.ensure(self.client, kind, packages=self.packages)
            try:
                created = self.client.api.create_container(
                    image,
                    entrypoint=[
                        "python3",
                        "-S",
                        "-s",
                        "-B",
                        "-P",
                        "-X",
                        "utf8",
                        f"{docker_image.INSIDE}/runner/launch.py",
                    ],
                    command=["-1", json.dumps(runner_options(kind, preload))],
                    user=NOBODY,
                    working_dir="/tmp",
                    environment={
                        "PYTHONHASHSEED": "0",
                        "HOME": "/tmp",
                        "TMPDIR": "/tmp",
                        "LANG": "C.UTF-8",
                        **RUNNER_SETTINGS,
                    },
                    labels={"stepgym.sandbox": kind, OWNER: " ".join(this_process())},
                    network_disabled=True,
                    host_config=self._host_config(kind, channel),
                )
            except ImageNotFound as error:
                if self.image:
                    raise SandboxError(
                        f"the engine has no image {image!r}; pull or build it, or give none"
                    ) from error
                continue  # someone removed it after we looked
            return str(created["Id"])
        raise SandboxError(
            f"the image {image} vanishes as soon as it is built; is something pruning images?"
        )

    def _host_config(self, kind: str, channel: Path) -> dict[str, Any]:
        sessions = self.max_sessions if kind == "session" else 0
        memory = f"{self.memory_mib + SESSION_MIB * sessions}m"
        disk, inodes = (4 * self.disk_mib, 65536) if sessions else (self.disk_mib, 8192)
        run_written = "exec" if kind == "tools" else "noexec"
        config: dict[str, Any] = self.client.api.create_host_config(
            network_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            ipc_mode="none",
            pids_limit=self.num_processes + sessions,
            mem_limit=memory,
            memswap_limit=memory,
            nano_cpus=int(self.cpus * 1e9),
            tmpfs={
                "/tmp": f"rw,nosuid,nodev,{run_written},size={disk}m,nr_inodes={inodes},mode=1777",
                "/dev/shm": "rw,nosuid,nodev,noexec,size=16m,nr_inodes=1024,mode=1777",
            },
            binds={str(channel): {"bind": "/channel", "mode": "ro"}},
            log_config={"type": "none"},
            auto_remove=True,
            runtime=self.runtime,
        )
        return config


def connect(timeout_s: float = 60.0) -> Any:
    """Connect to the engine; its faults come as exceptions of the docker SDK."""
    import docker

    client = docker.from_env(timeout=int(timeout_s))
    client.ping()
    return client


def runner_options(kind: str, preload: Sequence[str] = ()) -> dict[str, Any]:
    """Return the options of the runner in a container of this kind.

    See `runner.supervisor.Options`.
    """
    return {
        "socket": "/channel/s",
        "folder": "/tmp",
        "readable": READABLE if kind == "session" else ["/"],
        "sessions": kind == "session",
        "packages": [
            f"{docker_image.INSIDE}/site",
            *([f"{docker_image.INSIDE}/packages"] if kind == "tester" else []),
        ],
        "preload": list(preload),
        "tester": kind == "tester",
        "run_written": kind == "tools",
        "shared_memory": True,
    }


@contextlib.contextmanager
def engine_faults() -> Iterator[None]:
    """Turn the engine's faults into `SandboxError`s that name it and say what to do."""
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    where = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    try:
        yield
    except (DockerException, RequestException) as error:
        text = str(error)
        if "no space left" in text.lower():
            way_out = "; free some with `docker system prune`"
        else:
            way_out = (
                "" if isinstance(error, APIError) and error.is_client_error() else f"; {WAY_OUT}"
            )
        kind = SandboxError if isinstance(error, APIError) else EngineUnavailable
        raise kind(f"the Docker engine at {where} failed: {text[:400]}{way_out}") from error
    except OSError as error:
        raise SandboxError(
            f"no connection between this machine and its containers: {error}"
        ) from error


def _short_folder() -> str | None:
    """A folder whose name leaves room for a socket's (108 bytes in all)."""
    return None if len(tempfile.gettempdir()) < 60 else "/tmp"


def _start(client: Any, container: str) -> None:
    """Start a container; `RunnerLost` if somebody removed or killed it meanwhile."""
    from docker.errors import APIError, NotFound

    try:
        client.api.start(container)
    except APIError as error:
        try:
            state = client.api.inspect_container(container)["State"]
        except NotFound:
            state = {"Status": "removed"}
        if error.status_code == 409 or state["Status"] in ("removed", "removing", "dead", "exited"):
            raise RunnerLost(f"the container was ended while it started: {error}") from error
        raise


def _accept(listener: socket.socket, client: Any, container: str) -> socket.socket:
    """Wait for the container's runner to connect; `RunnerLost` when the container ends instead."""
    from docker.errors import NotFound

    listener.settimeout(0.5)
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up:
        try:
            return listener.accept()[0]
        except TimeoutError:
            pass
        try:
            state = client.api.inspect_container(container)["State"]
        except NotFound:
            state = {"Running": False, "ExitCode": "unknown", "Error": "it is gone"}
        if not state["Running"]:
            raise RunnerLost(
                f"the container ended at once, status {state['ExitCode']} {state['Error']}"
            )
    raise SandboxError(
        f"the container's runner did not report within {START_S:.0f} s (is the engine on this machine?)"
    )


def _hello(control: socket.socket) -> dict[str, Any]:
    control.settimeout(START_S)
    message, _ = wire.receive(control)
    control.settimeout(None)
    if message is None:
        raise RunnerLost("the container's runner ended before it was ready")
    return message


def _remove(client: Any, container: str, starter: int) -> None:
    """Remove a container, if it and its engine are still there. In a fork of the process that started it do nothing."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    if os.getpid() == starter:
        with contextlib.suppress(DockerException, RequestException):
            client.api.remove_container(container, force=True)


def remove_leftovers(client: Any) -> int:
    """Remove containers whose process on this machine is dead; return their number."""
    boot, count = this_process()[0], 0
    for container in client.api.containers(all=True, filters={"label": OWNER}):
        owner = container["Labels"][OWNER].split()
        ended = container["State"] in ("exited", "dead", "created") and owner[:1] not in (
            [],
            [boot],
        )
        if ended or is_dead(owner):
            count += 1
            _remove(client, container["Id"], os.getpid())
    return count
