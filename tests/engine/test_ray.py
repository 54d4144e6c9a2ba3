"""A real Ray cluster of this machine alone: whoever does the tasks, wherever, the bytes are those of the plain engine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
from kills import contents
from support.runs import go

import sliderspace
from sliderspace.core.errors import BadInput, SliderSpaceError
from sliderspace.core.settings import Speed
from sliderspace.engine import local
from sliderspace.engine.catalogue import Discovery, Ended, discover
from sliderspace.engine.models import Loaded, Models
from sliderspace.engine.progress import Progress
from sliderspace.engine.tasks import Task, in_turn

pytestmark = [
    pytest.mark.slow,  # a cluster has to start, and on a busy machine that takes its time
    # Ray itself is imported by `engine.ray`, which says first that it shall listen to this machine alone.
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: the extra `cluster`"),
]

MakeModels = Callable[..., Models]
ONE_LANE = Speed(device="cpu", lanes=1)  # as many groups as sliders
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    """An engine on a cluster with room for four. Those that were started stay for the tests that follow: a worker costs
    eight seconds of a processor, nearly all of it imports."""
    from sliderspace.engine.ray import started

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_health_check_period_ms", "500")  # a machine that is gone is missed within seconds
        with started(workers=4) as found:
            assert listening(psutil.Process().children(recursive=True)) <= LOOPBACK
            found.hired(4)  # they import while this process makes what they are compared with
            yield found


@pytest.fixture(scope="module")
def make(make_models: MakeModels) -> MakeModels:
    return partial(make_models, sliders=4, steps=2, speed=ONE_LANE)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, make: MakeModels) -> dict[str, str]:
    """What the plain engine leaves."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    go(make(folder))
    return contents(folder)


def discovered(models: Models, workers: Any, seen: Callable[[Progress], None] = lambda _: None) -> dict[str, str]:
    """What the workers leave of the same discovery."""

    def stages(models: Models) -> Iterator[Progress]:
        for record in local.discover(models, workers):
            seen(record)
            yield record

    go(models, stages)
    return contents(models.run.root)


def followed(models: Models, workers: Any) -> dict[str, str]:
    """What the workers leave of the same discovery, which says all the while how far it is."""
    records: list[Progress] = []
    left = discovered(models, workers, records.append)
    for stage, total in {"sample": 138, "train": 4 * models.settings.updates, "measure": 4}.items():
        done = [record.done for record in records if record.stage == stage]
        assert done == sorted(done) and done[-1] == total
    return left


def processes() -> list[psutil.Process]:
    """Those of this process's workers, by the title that Ray gives them."""
    found: list[psutil.Process] = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it may have ended, or be a zombie
            found += [child] if any("ray::Worker" in word for word in child.cmdline()[:1]) else []
    return found


def listening(family: list[psutil.Process]) -> set[str]:
    """The addresses at which some processes can be reached."""
    found: set[str] = set()
    for process in family:
        with suppress(psutil.Error):  # it may have ended
            sockets = process.net_connections("inet")
            found |= {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}
    return found


# ---- the same bytes


@pytest.mark.skipif(
    not Path("/proc/self/cwd").exists(), reason="needs a path that means another folder in each process"
)
def test_workers_that_do_not_see_the_folder_send_their_files_back(
    workers: Any, make: MakeModels, plain: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("/proc/self/cwd/run")
    go(make(folder), partial(local.discover, engine=workers))
    assert not any(worker.sees for worker in workers.members)
    assert contents(tmp_path / "run") == plain


def test_a_catalogue_by_workers_has_the_bytes_of_discoveries_alone(
    workers: Any, make: MakeModels, plain: dict[str, str], tmp_path: Path
) -> None:
    """They go from concept to concept, with what they have loaded."""
    models = make(tmp_path / "first")
    found = [Discovery(models.settings, tmp_path / name) for name in ("first", "second")]
    ended = [last for _, last in discover(found, ONE_LANE, Loaded(), engine=workers) if isinstance(last, Ended)]
    assert ended == [Ended(), Ended()]
    for concept in found:
        assert {name: data for name, data in contents(concept.folder).items() if name != "report.html"} == plain


def test_four_workers_leave_the_bytes_of_the_plain_engine(
    workers: Any, make: MakeModels, plain: dict[str, str], tmp_path: Path
) -> None:
    assert followed(make(tmp_path / "run"), workers) == plain
    assert [worker.sees for worker in workers.members] == [True] * 4, "fewer would prove less"


# ---- what is lost


def test_bad_input_is_the_error_of_the_plain_engine_and_not_tried_again(
    workers: Any, make: MakeModels, tmp_path: Path
) -> None:
    models = make(tmp_path / "run")
    go(models, local.sample)
    task, before = [Task("group")], workers.lost
    said: list[str] = []
    for engine in (in_turn, workers):
        with pytest.raises(BadInput, match="sliderspace fit") as raised:
            list(engine(models, task))
        said.append(str(raised.value))
    assert said[0] == said[1] and workers.lost == before


def test_a_worker_that_is_killed_is_replaced(
    workers: Any, make: MakeModels, plain: dict[str, str], tmp_path: Path
) -> None:
    """One in each stage, in the middle of a task."""
    killed: set[str] = set()
    before = workers.lost

    def kill(record: Progress) -> None:
        if record.done and record.stage not in killed and record.stage != "fit":
            killed.add(record.stage)
            processes()[0].kill()

    assert discovered(make(tmp_path / "run"), workers, kill) == plain
    assert killed == {"sample", "train", "measure"} and workers.lost > before


def test_a_task_that_costs_every_worker_is_given_up(workers: Any, make: MakeModels, tmp_path: Path) -> None:
    """By workers of its own beside those of the other tests."""
    models = make(tmp_path / "run", updates=10**6)
    go(models, lambda m: local.run(m, ["sample", "fit"]))
    others = processes()
    own = type(workers)(1, threads=1, num_cpus=0)
    ended = False

    def kill_all() -> None:
        while not ended:
            for process in processes():
                if process not in others:
                    process.kill()
            time.sleep(0.1)

    killer = Thread(target=kill_all)
    killer.start()
    try:
        with (
            models.run.open_for_writing(),
            pytest.raises(SliderSpaceError, match="3 workers were lost") as raised,
        ):
            list(own(models, [Task("group", 0, 10**6)]))
    finally:
        ended = True
        killer.join()
        own.close()
    assert str(raised.value).count("\n") == 1


# ---- fewer and fewer: the cluster does not outlive these


@pytest.mark.parametrize("count", [2, 1])
def test_fewer_workers_leave_the_bytes_of_the_plain_engine(
    workers: Any, make: MakeModels, plain: dict[str, str], tmp_path: Path, count: int
) -> None:
    for worker in workers.members[count:]:
        workers.dismiss(worker)
    workers.count = count
    assert followed(make(tmp_path / "run"), workers) == plain
    assert len(workers.members) == count


def test_a_cluster_that_is_gone_is_an_error(
    workers: Any, make: MakeModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray would wait for another machine forever."""
    for seconds in ("CHECK_S", "PATIENCE_S"):
        monkeypatch.setattr(f"sliderspace.engine.ray.{seconds}", 0.5)
    models = make(tmp_path / "run", updates=10**6)
    go(models, lambda m: local.run(m, ["sample", "fit"]))
    raylets = [process for process in psutil.Process().children(recursive=True) if process.name() == "raylet"]

    def train() -> None:
        for done, _ in workers(models, [Task("group", 0, 10**6)]):
            while done and raylets:
                raylets.pop().kill()

    with models.run.open_for_writing(), pytest.raises(SliderSpaceError, match="the Ray cluster is gone") as raised:
        train()
    assert str(raised.value).count("\n") == 1 and not raylets
    workers.close()


# ---- the command


def test_the_command_stopped_leaves_a_folder_that_goes_on(
    small: dict[str, Any], make: MakeModels, plain: dict[str, str], tmp_path: Path
) -> None:
    """What Ctrl-C does to `discover` on a cluster of its own; and while it runs, nobody else can reach that cluster."""
    settings = {**make(tmp_path / "run").settings.model_dump(include=set(small)), "lanes": 1, "device": "cpu"}
    options = [f"--{name}={value}" for name, value in settings.items() if name != "prompts"]
    line = [sys.executable, "-m", "sliderspace.cli", "discover", *small["prompts"], *options]
    environment = {**os.environ, "PYTHONPATH": str(Path(sliderspace.__file__).parents[1])}
    environment.pop("RAY_ADDRESS", None)
    run = subprocess.Popen(
        [*line, "--out", str(tmp_path / "run"), "--engine", "ray", "--workers", "1"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in a shell's background, interrupts are ignored, and so they would be here.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )
    made = tmp_path / "run" / "unfinished" / "directions.safetensors"
    until = time.monotonic() + 300
    while run.poll() is None and not made.exists() and time.monotonic() < until:
        time.sleep(0.05)
    family = psutil.Process(run.pid).children(recursive=True)
    addresses = listening(family)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 130 and "give the same command again" in err, err
    assert addresses <= LOOPBACK and addresses
    assert psutil.wait_procs(family, timeout=120)[1] == [], "the cluster goes with the command"
    go(make(tmp_path / "run"))
    assert contents(tmp_path / "run") == plain
