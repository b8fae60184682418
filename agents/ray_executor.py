"""Problems played on a Ray cluster: slices as tasks, as many in flight as the cluster has room for.

Every node needs this package and what the run names (plug-ins, model folders, data files) in the same places. Search runs
in the tasks. The policy and the reward model are made in each task, or in processes of their own that all tasks share
(`stepgym.agents.ray_models`), or served by URL. The driver alone writes records.

Tasks only say which resources they need. Placing them and adding nodes is left to Ray.
"""

from __future__ import annotations

import pickle
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from stepgym.agents.costs import uses_sandbox
from stepgym.agents.executors import failed_record, forget_setup, iter_slice
from stepgym.agents.jobs import Job, Stop, never, shares_budget, slices
from stepgym.agents.ray_cluster import SANDBOX_RESOURCE, Placement, connected
from stepgym.agents.ray_models import MAX_STARTS, MAX_WAITING, PREFIX, ModelProcess
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.registry import load_env
from stepgym.plugins.errors import UserError
from stepgym.plugins.processors import use_processors
from stepgym.sandbox.types import SandboxError

T = TypeVar("T")
Result = TypeVar("Result")

MAX_DEATHS = 2
"""A problem whose process died so often gives a failed record; a node that is lost is nobody's fault."""
IN_FLIGHT_PER_SLOT = 2
"""One slice that is played, and one that waits on the node."""
MAX_PIECE_BYTES = 2**20
"""Records come from a task in pieces of this size (a larger record is a piece of its own)."""
MAX_PIECES_AHEAD = 2
"""Pieces of one task that the object store holds until the driver takes them; the task then waits."""
PAUSE_S = 60.0
"""How long a node gets no slice after its sandbox failed."""


class Part(NamedTuple):
    """A slice of the problems, and how many of its records have come already."""

    indices: tuple[int, ...]
    num_received: int = 0

    @property
    def left(self) -> tuple[int, ...]:
        return self.indices[self.num_received :]


class SandboxFault(NamedTuple):
    """What a task says when the sandbox of its node fails."""

    node_id: str
    address: str
    reason: str


@dataclass(frozen=True)
class OnRay:
    """Plays on the Ray cluster at `address`; `None` starts one on this machine, `auto` takes the one that runs here.

    A node that joins takes work, and the problems of one that is lost are played again elsewhere. If the sandbox of a
    node fails, its slices are played on other nodes, and the node is left alone for a minute.
    """

    address: str | None = None
    num_cpus: float = 1
    """What each task asks for, with `num_gpus` and `resources`."""
    num_gpus: float = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    sandbox_resource: str | None = SANDBOX_RESOURCE
    """The resource of nodes that can run programs; tasks of an environment that runs some ask for 1 of it. With `None`
    they run on any node."""
    policy_actors: int = 0
    """In how many processes of its own the policy runs, shared by all tasks; 0 makes it in each task."""
    policy_cpus: float = 1
    policy_gpus: float = 0
    reward_model_actors: int = 0
    reward_model_cpus: float = 1
    reward_model_gpus: float = 0
    wait_s: float = 30.0
    """How long a run waits for a node with what it needs. An autoscaler may need minutes."""
    _models: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Role -> what was asked for, and the processes; they end with this object or with the driver."""

    def play(
        self, job: Job, indices: Sequence[int], *, stop: Stop = never
    ) -> Iterator[EpisodeRecord]:
        """Yield the records slice by slice, in the order in which slices finish."""
        job = self.with_models(job)
        run = _Run(connected(self.address), job, self._placement(job))
        run.waiting += [Part(tuple(part)) for part in slices(job, indices, run.placement.room())]
        try:
            while run.running or (run.waiting and not stop()):
                if not stop():
                    run.start_tasks()
                yield from run.receive()
        finally:
            run.cancel()

    def map(self, function: Callable[[T], Result], parts: Iterable[T]) -> Iterator[Result]:
        """Yield the function's results in the order of the parts; those of a node that is lost are computed again.

        The function is a module's own, and parts and results can be pickled. What it raises is raised here.
        """
        ray = connected(self.address)
        wants = _positive({"CPU": self.num_cpus, "GPU": self.num_gpus, **self.resources})
        way_out = "start a node that has it, or ask for less"
        placement = Placement(ray, "a batch", wants, way_out, self.wait_s)
        task = ray.remote(_call_on_node).options(
            num_cpus=self.num_cpus, num_gpus=self.num_gpus, resources=dict(self.resources)
        )
        stream = iter(parts)
        running: deque[Any] = deque()
        try:
            while True:
                ahead = IN_FLIGHT_PER_SLOT * placement.room() - len(running)
                running += [task.remote(function, part, sys.path) for part in islice(stream, ahead)]
                if not running:
                    return
                ready, _ = ray.wait([running[0]], timeout=1.0)
                if not ready:
                    placement.require()
                    continue
                try:
                    result = ray.get(ready[0])
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from error
                except ray.exceptions.RayError as error:
                    raise UserError(f"a batch was lost more than once on Ray: {error}") from error
                running.popleft()
                yield result
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def with_models(self, job: Job) -> Job:
        """Return the job with the names of the processes of its models, which are started if they do not run yet.

        Raises `UserError` for a model that cannot be made, or if no node has what it needs.
        """
        if self.policy_actors and not job.policy.startswith(PREFIX):
            names = self._processes("policy", job, (job.policy, job.policy_settings))
            settings = {k: v for k, v in job.policy_settings.items() if k == "seed"}
            job = replace(job, policy=names, policy_settings=settings)
        if self.reward_model_actors and not (job.reward_model or PREFIX).startswith(PREFIX):
            names = self._processes("reward_model", job, job.reward_model)
            job = replace(job, reward_model=names)
        return job

    def _processes(self, role: str, job: Job, model: Any) -> str:
        asked = (model, job.seed, job.env_id, job.env_options)
        known, names, processes = self._models.get(role, (None, "", []))
        if known == asked:
            return str(names)
        ray = connected(self.address)
        count, cpus = getattr(self, f"{role}_actors"), getattr(self, f"{role}_cpus")
        gpus = getattr(self, f"{role}_gpus")
        wants = _positive({"CPU": cpus, "GPU": gpus})
        own = [f"stepgym-{role}-{uuid.uuid4().hex[:12]}" for _ in range(count)]
        processes = [
            ray.remote(ModelProcess)
            .options(
                name=name,
                num_cpus=cpus,
                num_gpus=gpus,
                max_restarts=-1,
                max_task_retries=MAX_STARTS,
                max_concurrency=MAX_WAITING,
            )
            .remote(replace(job, attempt=0), role, sys.path)
            for name in own
        ]
        what = f"a process of the {role.replace('_', ' ')}"
        way_out = f"start a node that has it, or lower {role}_gpus or {role}_cpus"
        placement = Placement(ray, what, wants, way_out, self.wait_s)
        loading = [process.about.remote(job.seed) for process in processes]
        while loading:
            loaded, loading = ray.wait(loading, timeout=1.0)
            if not loaded:
                placement.require()
            for reference in loaded:
                try:
                    ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from error
                except ray.exceptions.RayError as error:
                    raise UserError(
                        f"{what} died while it loaded {model!r:.200}: {error}"
                    ) from error
        self._models[role] = (asked, PREFIX + ",".join(own), processes)
        return str(self._models[role][1])

    def _placement(self, job: Job) -> Placement:
        resources = dict(self.resources)
        way_out = "start a node that has it, or ask for less"
        if self.sandbox_resource and _runs_programs(job):
            name = self.sandbox_resource
            resources.setdefault(name, 1)
            way_out = (
                "start nodes that can run programs with "
                f"`ray start --address=HEAD:6379 --resources='{{\"{name}\": 4}}'` (4 slices at a time), or let tasks run "
                "on any node with --ray-option sandbox_resource=null"
            )
        wants = _positive({"CPU": self.num_cpus, "GPU": self.num_gpus, **resources})
        reserved = self.policy_actors * self.policy_cpus
        reserved += self.reward_model_actors * self.reward_model_cpus if job.reward_model else 0
        return Placement(
            connected(self.address), "a slice of problems", wants, way_out, self.wait_s, reserved
        )


def _positive(wants: Mapping[str, float]) -> dict[str, float]:
    return {name: amount for name, amount in wants.items() if amount > 0}


def _runs_programs(job: Job) -> bool:
    env = load_env(job.env_id, **{"seed": job.seed, **job.env_options})
    try:
        return uses_sandbox(env.domain) or uses_sandbox(env.verifier)
    finally:
        env.close()


@dataclass
class _Run:
    """One run's slices: those that wait, and those in flight by the stream of their records."""

    ray: Any
    job: Job
    placement: Placement
    waiting: deque[Part] = field(default_factory=deque)
    running: dict[Any, Part] = field(default_factory=dict)
    deaths: Counter[tuple[int, ...]] = field(default_factory=Counter)
    paused: dict[str, float] = field(default_factory=dict)
    """Node whose sandbox failed -> when it may be tried again."""

    def start_tasks(self) -> None:
        """Put as many slices in flight as the living nodes have room for."""
        wants = dict(self.placement.wants)
        options: dict[str, Any] = {
            "num_cpus": wants.pop("CPU", 0),
            "num_gpus": wants.pop("GPU", 0),
            "resources": wants,
            "max_retries": 0,
            "num_returns": "streaming",
            "_generator_backpressure_num_objects": MAX_PIECES_AHEAD,
        }
        if paused := self._paused_nodes():
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(paused)})"}
        task = self.ray.remote(_play_on_node).options(**options)
        most = IN_FLIGHT_PER_SLOT * self.placement.room()
        while self.waiting and len(self.running) < most:
            part = self.waiting.popleft()
            self.running[task.remote(self.job, part, sys.path)] = part

    def receive(self) -> Iterator[EpisodeRecord]:
        """Yield the records of one piece of a task, or deal with its loss; return after a second without any."""
        ready, _ = self.ray.wait(list(self.running), timeout=1.0)
        if not ready:
            self.placement.require()
        for stream in ready:
            part = self.running.pop(stream)
            try:
                piece = self.ray.get(next(stream))
            except StopIteration:
                continue
            except self.ray.exceptions.RayTaskError as error:  # the task raised, as it would here
                raise error.cause from error
            except self.ray.exceptions.RayError as error:
                yield from self._lost(part, error)
                continue
            if isinstance(piece, SandboxFault):
                self._pause(piece)
                self.waiting.appendleft(part)
                continue
            self.running[stream] = part._replace(num_received=part.num_received + len(piece))
            yield from map(pickle.loads, piece)

    def cancel(self) -> None:
        """End the tasks in flight."""
        for stream in self.running:
            self.ray.cancel(stream, force=True)

    def _lost(self, part: Part, error: Exception) -> Iterator[EpisodeRecord]:
        """Let a slice be played again whose node or process was lost; each problem alone if the slice may be at fault."""
        errors = self.ray.exceptions
        if isinstance(error, errors.NodeDiedError | errors.ObjectLostError):
            self.waiting.appendleft(part)
            return
        alone = [part] if shares_budget(self.job) else [Part((index,)) for index in part.left]
        for one in reversed(alone):
            self.deaths[one.indices] += 1
            if self.deaths[one.indices] < MAX_DEATHS:
                self.waiting.appendleft(one)
            else:
                yield from [failed_record(self.job, index) for index in one.left]

    def _paused_nodes(self) -> list[str]:
        now = time.monotonic()
        self.paused = {node: until for node, until in self.paused.items() if until > now}
        return list(self.paused)

    def _pause(self, fault: SandboxFault) -> None:
        """Leave a node alone for a while. Raises `SandboxError` if there is no other."""
        self.paused[fault.node_id] = time.monotonic() + PAUSE_S
        if {node["NodeID"] for node in self.placement.nodes()} <= set(self._paused_nodes()):
            raise SandboxError(
                f"the sandbox failed on every node of the Ray cluster, last on {fault.address}: {fault.reason}"
            )


def _call_on_node(function: Callable[[T], Result], part: T, path: Sequence[str]) -> Result:
    sys.path.extend(place for place in path if place not in sys.path)
    return function(part)


def _play_on_node(job: Job, part: Part, path: Sequence[str]) -> Iterator[Any]:
    """Play a slice in a process of a node, which Ray keeps for the next slice; yield its records in pieces, pickled.

    A search that shares a budget among problems plays the whole slice again if a part of it is left.
    """
    import ray

    sys.path.extend(place for place in path if place not in sys.path)
    where = ray.get_runtime_context()
    use_processors(int(where.get_assigned_resources().get("CPU", 1)))  # for the sandbox
    whole = shares_budget(job)
    piece: list[bytes] = []
    try:
        records = iter_slice(job, part.indices if whole else part.left)
        for record in islice(records, part.num_received if whole else 0, None):
            piece.append(pickle.dumps(record))
            if sum(map(len, piece)) >= MAX_PIECE_BYTES:
                yield piece
                piece = []
        if piece:
            yield piece
    except SandboxError as error:
        forget_setup()
        if piece:
            yield piece
        yield SandboxFault(where.get_node_id(), ray.util.get_node_ip_address(), str(error))
    except UserError as error:
        raise UserError(f"{error} (on Ray node {ray.util.get_node_ip_address()})") from error
