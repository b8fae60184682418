"""Problems played on a Ray cluster: slices as tasks, as many in flight as the cluster has room for.

Every node needs this package and what the run names (plug-ins, model folders, data files) in the same places. Search runs
in the tasks; a large model is best served by URL (`chat:URL#MODEL`), so that all tasks share it.
"""

from __future__ import annotations

import socket
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepgym.agents.executors import failed_record, play_slice
from stepgym.agents.jobs import Job, Stop, never, slices
from stepgym.agents.types import EpisodeRecord
from stepgym.plugins.errors import UserError

MAX_DEATHS = 2
"""A problem whose process died so often gives a failed record; a node that is lost is nobody's fault."""
IN_FLIGHT_PER_CPU = 2


@dataclass(frozen=True)
class OnRay:
    """Plays on the Ray cluster at `address`; `None` starts one on this machine, `auto` takes the one that runs here.

    Each task asks for `num_cpus`, `num_gpus` and `resources`: `{"sandbox": 1}` runs them on nodes that were started with
    this resource, which is how nodes with a container engine are told. A node that joins takes work, and the problems
    of one that is lost are played again elsewhere.
    """

    address: str | None = None
    num_cpus: float = 1
    num_gpus: float = 0
    resources: Mapping[str, float] = field(default_factory=dict)

    def play(
        self, job: Job, indices: Sequence[int], *, stop: Stop = never
    ) -> Iterator[EpisodeRecord]:
        """Yield the records slice by slice, in the order in which slices finish."""
        ray = connected(self.address)
        task = ray.remote(_play_on_node).options(
            num_cpus=self.num_cpus,
            num_gpus=self.num_gpus,
            resources=dict(self.resources),
            max_retries=0,
        )
        waiting = deque(slices(job, indices, self._room(ray)))
        running: dict[Any, Sequence[int]] = {}
        deaths: Counter[int] = Counter()
        try:
            while running or (waiting and not stop()):
                while waiting and len(running) < self._room(ray) and not stop():
                    part = waiting.popleft()
                    running[task.remote(job, list(part), sys.path)] = part
                done, _ = ray.wait(list(running), timeout=1.0)
                for reference in done:
                    part = running.pop(reference)
                    try:
                        records = ray.get(reference)
                    except (
                        ray.exceptions.RayTaskError
                    ) as error:  # the task raised, as it would here
                        raise error.cause from error
                    except ray.exceptions.RayError as error:
                        waiting.extendleft([index] for index in reversed(part))
                        if isinstance(error, ray.exceptions.NodeDiedError):
                            continue
                        deaths.update(part)
                        for index in [i for i in part if deaths[i] >= MAX_DEATHS]:
                            waiting.remove([index])
                            yield failed_record(job, index)
                    else:
                        yield from records
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def _room(self, ray: Any) -> int:
        """Return how many tasks may be in flight on the nodes that are there now."""
        cpus = ray.cluster_resources().get("CPU", 1.0)
        return max(1, int(IN_FLIGHT_PER_CPU * cpus / max(self.num_cpus, 0.01)))


def connected(address: str | None) -> Any:
    """Return the module `ray`, connected. Raises `UserError` with the way out."""
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "playing on Ray needs the package ray: pip install 'stepgym[ray]'"
        ) from error
    if not ray.is_initialized():
        way_out = "start one with `ray start --head`"
        host, _, port = (address or "").rpartition(":")
        try:
            if host and port.isdecimal() and "/" not in host:  # Ray itself would try for minutes
                socket.create_connection((host, int(port)), timeout=10).close()
            ray.init(
                address=address,
                log_to_driver=False,
                include_dashboard=False if address is None else None,
            )
        except (ConnectionError, OSError) as error:
            raise UserError(f"no Ray cluster at {address!r} ({error}); {way_out}") from error
    return ray


def _play_on_node(job: Job, indices: Sequence[int], path: Sequence[str]) -> list[EpisodeRecord]:
    """Play a slice in a worker process of a node, which Ray keeps for the next slice."""
    sys.path.extend(place for place in path if place not in sys.path)
    return play_slice(job, indices)
