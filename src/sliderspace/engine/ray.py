"""The tasks of a run on the workers of a Ray cluster: each loads the models once, and gets the next task when it has
done one.

Workers write their files into the run folder, as the processes of `--shard` do. One that does not see the folder keeps
a copy, is given what it lacks, and sends back what it made. Only what is lost is tried again: a worker that dies, or
meets an error of its machine, is replaced, and its task given out anew, `TRIES` times in all. What is wrong with a task
itself is raised as the plain engine raises it.
"""

import os
import sys
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from sliderspace.core.errors import BadInput, SliderSpaceError
from sliderspace.core.text import one_line
from sliderspace.engine.models import Models
from sliderspace.engine.tasks import Step, Task
from sliderspace.engine.worker import Run, Worker, files_of
from sliderspace.storage.files import save_bytes

# Read by Ray as it is imported. Without "cluster" it listens on the loopback address alone, on every system.
if not os.environ.get("RAY_ADDRESS"):
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
# Where there is a token Ray shows it by itself, except to the client server of ray://. Too late once Ray is imported.
if "ray" not in sys.modules and (Path.home() / ".ray" / "auth_token").exists():
    os.environ.setdefault("RAY_AUTH_MODE", "token")

try:
    import ray
    from ray.exceptions import OutOfMemoryError, RayError, RayTaskError
except ModuleNotFoundError as error:
    raise BadInput("--engine ray needs Ray: pip install 'sliderspace[cluster]'") from error

TRIES = 3
EVERY_S = 0.2  # between two looks at how far workers are
PATIENCE_S = 5.0  # for workers to clear up
CHECK_S = 5.0  # between two looks at whether the cluster is still there
OF_THE_MACHINE = (OSError, getattr(torch, "AcceleratorError", OSError))  # a disk or a card that failed


class WorkerActor(Worker):
    """It says how far it is while it works."""

    @cast("Any", ray).method(concurrency_group="look")
    def look(self) -> tuple[Task | None, Step]:
        return super().look()


REMOTE: Any = cast("Any", ray).remote(concurrency_groups={"look": 1})(WorkerActor)


@dataclass(eq=False)
class Member:
    """A worker as the driver knows it: the task it has, how far that is, and whether it sees the run folder (None until
    it has begun)."""

    actor: Any
    task: Task | None = None
    step: Step = (0, "")
    sees: bool | None = None
    asked: Any = None  # how far it is


class Workers:
    """An engine (see `tasks`): `count` workers at most, started as there are tasks for them. Each computes in `threads`
    threads, and takes `resources` of the cluster."""

    def __init__(self, count: int, threads: int, **resources: float) -> None:
        self.count = count
        self.threads = threads
        self.resources = resources
        self.members: list[Member] = []
        self.lost = 0
        self.halved = 0  # how often the memory of a machine did not suffice

    def __call__(self, models: Models, tasks: Sequence[Task]) -> Iterator[Step]:
        """All tasks, each by whoever is free. Raises what a task raises, and SliderSpaceError where one worker after
        another is lost over the same task, or the cluster itself."""
        work = _Work(self, Run.of(models), tasks)
        try:
            while work.left:
                work.give()
                work.take()
                work.check()
                yield work.progress()
        finally:
            work.break_off()

    def hired(self, tasks: int) -> list[Member]:
        """All workers there are, after starting what so many tasks need."""
        while len(self.members) < min(self.count, tasks):
            self.members.append(self._new())
        return list(self.members)

    def replaced(self, worker: Member, *, memory: bool) -> Member:
        """A new worker in the place of one that is lost; it takes half as much at a time where `memory` was short."""
        self.lost += 1
        self.halved += memory
        self.dismiss(worker)
        self.members.append(self._new())
        return self.members[-1]

    def dismiss(self, worker: Member) -> None:
        if worker in self.members:
            self.members.remove(worker)
            ray.kill(worker.actor)

    def close(self) -> None:
        """Let the workers go."""
        going = [worker.actor.leave.remote() for worker in self.members]
        if going:
            ray.wait(going, num_returns=len(going), timeout=PATIENCE_S)
        for worker in list(self.members):
            self.dismiss(worker)

    def _new(self) -> Member:
        return Member(REMOTE.options(**self.resources).remote(self.threads, self.halved))


class _Work:
    """A list of tasks while it is being done."""

    def __init__(self, workers: Workers, run: Run, tasks: Sequence[Task]) -> None:
        self.workers = workers
        self.run = run
        self.due = deque(tasks)
        self.left = len(tasks)
        self.done = 0
        self.note = ""
        self.tried: Counter[Task | None] = Counter()
        self.sent: dict[str, tuple[int, Any]] | None = None
        self.checked_s = time.monotonic()
        self.free: list[Member] = []
        self.waiting: dict[Any, Member] = {}
        for worker in workers.hired(len(tasks)):
            self._begin(worker)

    def _begin(self, worker: Member) -> None:
        # Only who has begun is given tasks: a worker that the cluster has no room for must not hold one.
        self.waiting[worker.actor.begin.remote(self.run)] = worker

    def give(self) -> None:
        """A task to everyone who is free."""
        while self.due and self.free:
            worker = self.free.pop()
            worker.task = self.due.popleft()
            worker.step = (0, "")
            self.waiting[worker.actor.do.remote(worker.task, {} if worker.sees else self._files())] = worker

    def take(self) -> None:
        """What workers have answered by now; waits a moment for one."""
        for ref in ray.wait(list(self.waiting), timeout=EVERY_S)[0]:
            worker = self.waiting.pop(ref)
            task, worker.task = worker.task, None
            try:
                self._keep(worker, task, ray.get(ref))
            except RayError as error:
                self._again(worker, task, error)

    def _keep(self, worker: Member, task: Task | None, answer: Any) -> None:
        self.free.append(worker)
        if task is None:
            worker.sees = answer
            self.tried[None] = 0
            return
        for name, data in answer.items():
            save_bytes(self.run.root / name, data)
        self.done += task.size
        self.left -= 1

    def _again(self, worker: Member, task: Task | None, error: RayError) -> None:
        """The task goes to another worker, unless it is the task's fault or it was tried often enough."""
        cause = error.cause if isinstance(error, RayTaskError) else None
        if isinstance(cause, SliderSpaceError):
            raise cause from None
        if isinstance(error, RayTaskError) and not isinstance(cause, OF_THE_MACHINE):
            raise error
        self.tried[task] += task is not None or worker.sees is None  # an idle one that is lost proves nothing
        if self.tried[task] == TRIES:
            what = f"doing the same ({task.kind} {task.index})" if task else "starting"
            said = one_line(str(cause or error))
            raise SliderSpaceError(f"{TRIES} workers were lost while {what}: {said}\nSee Ray's logs.") from error
        if task:
            self.due.appendleft(task)
        self._begin(self.workers.replaced(worker, memory=isinstance(error, OutOfMemoryError)))

    def check(self) -> None:
        """Raises SliderSpaceError where the cluster has no machine any more: Ray would wait for another one forever."""
        if time.monotonic() < self.checked_s + CHECK_S:
            return
        self.checked_s = time.monotonic()
        if not any(node["Alive"] for node in ray.nodes()):
            raise SliderSpaceError("the Ray cluster is gone.\nGive the same command again to go on from here.")

    def progress(self) -> Step:
        """How much of all tasks is done, by the last that was heard of each worker."""
        busy = [worker for worker in self.waiting.values() if worker.task]
        for worker in busy:
            worker.asked = worker.asked or worker.actor.look.remote()
            if ray.wait([worker.asked], timeout=0)[0]:
                self._heard(worker)
        lost = self.workers.lost
        notes = (
            self.note,
            f"{lost} lost workers replaced" if lost else "",
            "" if busy or self.free else "waiting for workers",
        )
        return self.done + sum(worker.step[0] for worker in busy), "; ".join(filter(None, notes))

    def _heard(self, worker: Member) -> None:
        answer, worker.asked = worker.asked, None
        with suppress(RayError):  # `take` meets it too
            task, step = ray.get(answer)
            if task == worker.task:
                worker.step = step
                self.note = step[1] or self.note

    def break_off(self) -> None:
        """No worker goes on with what nobody waits for."""
        for worker in self.waiting.values():
            if worker.task:
                self.workers.dismiss(worker)

    def _files(self) -> dict[str, tuple[int, Any]]:
        """The run folder's files by name: when each was written, and a reference to what the cluster holds."""
        if self.sent is None:
            root = self.run.root
            self.sent = {name: (at, ray.put((root / name).read_bytes())) for name, at in files_of(root).items()}
        return self.sent


@contextmanager
def started(
    address: str = "", *, workers: int | None = None, gpus: float = 1.0, device: str = "auto"
) -> Generator[Workers]:
    """Workers of the cluster at `address` (ray://HOST:PORT), or that RAY_ADDRESS names, or else of one that is started
    here for them: `workers` of them, or as many as there is room for. On GPUs each takes the share `gpus` of
    one (above 0 … 1), elsewhere as many processors as torch has threads in this process.

    Raises SliderSpaceError where no cluster answers.
    """
    threads = torch.get_num_threads()
    there = ray.is_initialized()
    if not there:
        _connect(address, (workers or 0) * threads)
    try:
        has = ray.cluster_resources()
        cards = 0.0 if device == "cpu" else has.get("GPU", 0.0)
        room = int(cards / gpus) if cards else int(has.get("CPU", 0.0) / threads)
        each = {"num_gpus": gpus, "num_cpus": 1} if cards else {"num_cpus": threads}
        found = Workers(workers or max(1, room), 1 if cards else threads, **each)
        try:
            yield found
        finally:
            found.close()
    finally:
        if not there:
            ray.shutdown()


def _connect(address: str, processors: int) -> None:
    about: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if not address and not os.environ.get("RAY_ADDRESS"):
        here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # of Ray's 30 a busy machine needs more
        about |= {"address": "local", "num_cpus": max(here, processors), "include_dashboard": False}
    elif address:
        about["address"] = address
    try:
        ray.init(**about)
    except Exception as error:  # of whatever kind: where a part of it does not start in time it is a bare Exception
        where = address or os.environ.get("RAY_ADDRESS") or "this machine"
        raise SliderSpaceError(f"no Ray cluster at {where}: {one_line(str(error))}") from error
