"""What becomes of a batch when the Docker engine is killed, stopped or restarted under it.

    python benchmarks/engine_faults.py          # as root, with dockerd and containerd installed

Starts an engine of its own in a temporary folder (the one you use is left alone), runs a batch on it, hits it in the
middle, and says what came of the batch, of the next one without an engine, and of one with the engine back.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from stepgym.sandbox import Program, Sandbox, SandboxError, open_sandbox

BATCH = [Program("import time; time.sleep(0.05); print(1)")] * 100
HITS = {"killed": signal.SIGKILL, "stopped": signal.SIGTERM}


class Engine:
    """A dockerd with a containerd of its own, which lives on when dockerd dies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"unix://{folder}/docker.sock"
        paths = [f"--{name}={folder}/{name}" for name in ("root", "state")]
        self.containerd = self._spawn("containerd", *paths, f"--address={folder}/containerd.sock")
        self.start()

    def start(self) -> None:
        """Start dockerd and wait until it answers."""
        self.dockerd = self._spawn(
            "dockerd",
            "--iptables=false",
            "--bridge=none",
            f"--containerd={self.folder}/containerd.sock",
            f"--data-root={self.folder}/data",
            f"--exec-root={self.folder}/exec",
            f"--pidfile={self.folder}/pid-{time.time()}",
            f"--host={self.address}",
        )
        for _ in range(120):
            if (
                subprocess.run(
                    ["docker", "-H", self.address, "info"], capture_output=True, check=False
                ).returncode
                == 0
            ):
                return
            time.sleep(0.5)
        raise click.ClickException(f"no engine came up; see {self.folder}/log")

    def close(self) -> None:
        """End both."""
        for process in (self.dockerd, self.containerd):
            process.terminate()
            process.wait()
        subprocess.run(
            ["umount", "--lazy", f"{self.folder}/data"], stderr=subprocess.DEVNULL, check=False
        )

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def outcome(run: Callable[[], object]) -> str:
    """What a call came to, in a line."""
    begin = time.monotonic()
    try:
        said = str(run())
    except SandboxError as error:
        said = f"SandboxError: {str(error)[:90]}"
    return f"{said}   ({time.monotonic() - begin:.1f} s)"


def run_while_hit(sandbox: Sandbox, engine: Engine, how: signal.Signals) -> str:
    """Run the batch, hitting the engine after a second."""
    striker = subprocess.Popen(["sh", "-c", f"sleep 1; kill -{int(how)} {engine.dockerd.pid}"])
    said = outcome(
        lambda: (
            f"{sum(result.stdout.strip() == '1' for result in sandbox.run(BATCH))} of {len(BATCH)} right"
        )
    )
    striker.wait()
    engine.dockerd.wait()
    return said


@click.command()
def main() -> None:
    """Hit an engine under a batch and say what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(Path(folder))
        os.environ["DOCKER_HOST"] = engine.address
        try:
            for name, how in HITS.items():
                with open_sandbox("docker", workers=2) as sandbox:
                    sandbox.run(BATCH[:2])
                    click.echo(f"engine {name} in a batch: {run_while_hit(sandbox, engine, how)}")
                click.echo(
                    f"  next, without an engine:  {outcome(lambda: open_sandbox('docker').run(BATCH[:1]))}"
                )
                engine.start()
                with open_sandbox("docker", workers=2) as sandbox:
                    click.echo(
                        f"  with the engine back:     {outcome(lambda: sandbox.run(BATCH[:2])[0].stdout.strip())}"
                    )
        finally:
            engine.close()


if __name__ == "__main__":
    main()
