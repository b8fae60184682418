"""The Ray cluster of a run: how to reach it, and which nodes have what a task or a model's process asks for."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from stepgym.plugins.errors import UserError
from stepgym.plugins.processors import num_processors

SANDBOX_RESOURCE = "stepgym_sandbox"
"""The custom resource by which a node says that it can run programs; its amount is how many slices at a time."""
REFRESH_S = 1.0
T = TypeVar("T")


def connected(address: str | None, *, num_cpus: int | None = None) -> Any:
    """Return the module `ray`, connected. Raises `UserError` with the way out.

    A cluster that is started here (`None`) has `num_cpus` processors (default: those of the machine) and declares that this
    machine can run programs.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "playing on Ray needs the package ray: pip install 'stepgym[ray]'"
        ) from error
    if not ray.is_initialized():
        way_out = "start one with `ray start --head`"
        host, _, port = (address or "").rpartition(":")
        own: dict[str, Any] = {}
        if address is None:
            sandboxes = {SANDBOX_RESOURCE: num_processors()}
            own = {"include_dashboard": False, "num_cpus": num_cpus, "resources": sandboxes}
        try:
            if host and port.isdecimal() and "/" not in host:  # Ray itself would try for minutes
                socket.create_connection((host, int(port)), timeout=10).close()
            ray.init(address=address, log_to_driver=False, **own)
        except (ConnectionError, OSError) as error:
            raise UserError(f"no Ray cluster at {address!r} ({error}); {way_out}") from error
    return ray


@dataclass
class Placement:
    """Where something fits that asks for the resources `wants`, and how long nothing has fitted.

    Nodes are looked up once a second at most.
    """

    ray: Any
    what: str
    """As errors call it: `a slice of problems`."""
    wants: Mapping[str, float]
    way_out: str
    wait_s: float
    reserved_cpus: float = 0.0
    """CPUs of the cluster that models keep for themselves."""
    _nodes: list[Mapping[str, Any]] = field(default_factory=list)
    _looked: float = -REFRESH_S
    _lacking_since: float | None = None

    def nodes(self) -> list[Mapping[str, Any]]:
        """Return the living nodes that have all of it, busy or not."""
        if time.monotonic() - self._looked >= REFRESH_S:
            self._nodes = [
                node
                for node in self.ray.nodes()
                if node["Alive"]
                and all(node["Resources"].get(name, 0.0) >= n for name, n in self.wants.items())
            ]
            self._looked = time.monotonic()
        return self._nodes

    def room(self) -> int:
        """Return how many fit on all nodes at once; 1 at least, so that Ray sees the demand and can add a node."""
        fits = 0.0
        for node in self.nodes():
            has = node["Resources"]
            fits += min((has[name] // n for name, n in self.wants.items()), default=1)
        if cpus := self.wants.get("CPU"):
            fits -= self.reserved_cpus / cpus
        return max(1, int(fits))

    def require(self) -> None:
        """Raise `UserError` if no node has had all of it for `wait_s` seconds, in which an autoscaler may add one."""
        cpus = sum(node["Resources"].get("CPU", 0.0) for node in self.nodes())
        if self.nodes() and cpus - self.reserved_cpus >= self.wants.get("CPU", 0.0):
            self._lacking_since = None
            return
        now = time.monotonic()
        self._lacking_since = self._lacking_since or now
        if now - self._lacking_since < self.wait_s:
            return
        asked = ", ".join(f"{name} {amount:g}" for name, amount in self.wants.items())
        kept = f" beside the {self.reserved_cpus:g} CPU of the models" if self.reserved_cpus else ""
        raise UserError(
            f"no node of the Ray cluster has what {self.what} needs ({asked}){kept}, after {self.wait_s:g} s; "
            f"{self.way_out}"
        )


def examine_nodes(
    ray: Any, examine: Callable[[], T], *, timeout_s: float
) -> list[tuple[Mapping[str, Any], T | str]]:
    """Call `examine` on every node; return each node as Ray lists it, with its answer or why there is none.

    Nodes that have left the cluster have no answer and an empty reason.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = sorted(ray.nodes(), key=lambda node: not node["Alive"])
    task = ray.remote(num_cpus=0, max_retries=0)(_examine)
    asked = [
        task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(examine, sys.path)
        if node["Alive"]
        else None
        for node in nodes
    ]
    deadline = time.monotonic() + timeout_s
    answers: list[tuple[Mapping[str, Any], T | str]] = []
    for node, reference in zip(nodes, asked):
        answer: T | str = ""
        if reference is not None:
            try:
                answer = ray.get(reference, timeout=max(0.0, deadline - time.monotonic()))
            except ray.exceptions.GetTimeoutError:
                answer = f"no answer within {timeout_s:g} s"
                ray.cancel(reference, force=True)
            except ray.exceptions.RayTaskError as error:
                answer = f"examining it raised {type(error.cause).__name__}: {error.cause}"
            except ray.exceptions.RayError as error:
                answer = f"{type(error).__name__}: {error}"
        answers.append((node, answer))
    return answers


def _examine(examine: Callable[[], T], path: Sequence[str]) -> T:
    sys.path.extend(place for place in path if place not in sys.path)
    return examine()
