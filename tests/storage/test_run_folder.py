"""The run folder: whose it is, who may write to it, what a kill leaves, and how one space follows another."""

import errno
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from support.processes import child, finish

from sliderspace.core.errors import BadInput, DamagedFile, DiskFull, Held, SliderSpaceError
from sliderspace.storage import atomic, run_folder
from sliderspace.storage.files import (
    load_json,
    load_tensors,
    save_json,
    save_tensors,
    save_text,
    stored_fingerprint,
)
from sliderspace.storage.run_folder import RunFolder


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


# ---- the folder


@contextmanager
def as_nobody(folder: Path, mode: int) -> Generator[None]:
    """`folder` with rights that stop this process; root, whom no rights stop, steps down meanwhile."""
    root = os.geteuid() == 0
    folder.chmod(mode)
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o700)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that others may reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        inner = Path(name) / "inner"
        inner.mkdir()
        yield inner


def test_a_folder_that_may_not_be_written(open_path: Path):
    for attempt in (
        lambda: RunFolder(open_path).open_for_writing(),
        lambda: RunFolder(open_path / "new").open_for_writing(),
        lambda: save_json(open_path / "a.json", {}, kind="k", fingerprint="f"),
    ):
        with as_nobody(open_path, 0o555), pytest.raises(BadInput, match=r"(?i)permission denied"):
            attempt()


def test_a_folder_that_may_not_be_entered(open_path: Path):
    for attempt in (
        lambda: RunFolder(open_path).open_for_writing(),
        lambda: RunFolder(open_path).check_exists(),
        lambda: load_json(open_path / "a.json", kind="k"),
        lambda: load_tensors(open_path / "a.safetensors", kind="k"),
    ):
        with as_nobody(open_path, 0o000), pytest.raises(BadInput, match="inner"):
            attempt()
    with as_nobody(open_path, 0o000):
        assert stored_fingerprint(open_path / "a.json") is None


def test_a_folder_that_is_a_file_or_below_one(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/run"):
        with pytest.raises(BadInput, match="file"):
            RunFolder(tmp_path / place).open_for_writing()
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_names_no_system_takes(tmp_path: Path, name: str):
    for attempt in (
        lambda: RunFolder(tmp_path / name).open_for_writing(),
        lambda: save_text(tmp_path / name, "text"),
    ):
        with pytest.raises(BadInput, match="cannot write"):
            attempt()


def test_someone_elses_files_are_not_touched(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BadInput, match="already holds other files"):
        RunFolder(tmp_path).open_for_writing()
    assert names(tmp_path) == {"thesis.tex"}


def test_a_config_of_another_program_does_not_make_the_folder_ours(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model": "x"}')
    with pytest.raises(BadInput, match="already holds other files"):
        RunFolder(tmp_path).open_for_writing()
    with pytest.raises(BadInput, match="not the folder of a run"):
        RunFolder(tmp_path).check_exists()


def test_a_new_folder_is_made_and_known_again(tmp_path: Path):
    folder = RunFolder(tmp_path / "deep" / "run é")
    with pytest.raises(BadInput, match="sliderspace discover"):
        folder.check_exists()
    with folder.open_for_writing() as opened:
        assert opened is folder
        assert folder.trajectories.is_dir()
        assert folder.open_for_writing() is folder, "opening what is already held is no error"
    folder.check_exists()
    (folder.root / "picture.png").write_bytes(b"what `generate` put here")
    folder.open_for_writing().close()


def test_a_run_copied_without_hidden_files_is_still_ours(tmp_path: Path):
    save_json(tmp_path / "config.json", {"prompt": "p"}, kind="config", fingerprint="f")
    (tmp_path / "directions.safetensors").write_bytes(b"")
    RunFolder(tmp_path).check_exists()
    RunFolder(tmp_path).open_for_writing().close()


HOLD = """if True:
    import sys
    from sliderspace.storage.run_folder import RunFolder
    with RunFolder(sys.argv[1]).open_for_writing():
        print("held", flush=True)
        sys.stdin.readline()"""


def test_two_processes_cannot_write_one_folder(tmp_path: Path):
    folder = RunFolder(tmp_path / "run")
    process = child(HOLD, folder.root)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(SliderSpaceError, match="another run is writing") as caught:
        folder.open_for_writing()
    assert not isinstance(caught.value, BadInput)
    folder.check_exists()  # reading needs no lock
    with pytest.raises(SliderSpaceError, match="another run"):
        RunFolder(folder.root).open_for_writing()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    folder.open_for_writing().close()  # a dead holder holds nothing


def test_the_lock_is_let_go_after_an_error(tmp_path: Path):
    with pytest.raises(RuntimeError), RunFolder(tmp_path / "run").open_for_writing():
        raise RuntimeError
    RunFolder(tmp_path / "run").open_for_writing().close()


# ---- interruption

WRITE_FOR_EVER = """if True:
    import itertools, sys, torch
    from sliderspace.storage.files import save_tensors
    print("ready", flush=True)
    for version in itertools.count(1):
        save_tensors(sys.argv[1], {"x": torch.full((4_000_000,), float(version))}, kind="k", fingerprint="f", version=version)"""


def kill_in_mid_write(path: Path) -> Path | None:
    """Start writing versions of `path` for ever, and kill the process while a temporary file is there. Returns what it
    left."""
    process = child(WRITE_FOR_EVER, path)
    assert process.stdout is not None
    process.stdout.readline()
    before, left = {path, *path.parent.glob(".*.partial")}, None
    deadline = time.monotonic() + 120
    while left is None and time.monotonic() < deadline:
        left = next((p for p in path.parent.glob(".*.partial") if p not in before and p.stat().st_size), None)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return left if left is not None and left.exists() else None


def test_a_process_killed_in_mid_write_leaves_the_old_file_whole(tmp_path: Path):
    folder = RunFolder(tmp_path / "run").open_for_writing()
    folder.close()
    save_tensors(folder.sliders, {"x": torch.zeros(4_000_000)}, kind="k", fingerprint="f", version=0)
    for _ in range(20):
        left = kill_in_mid_write(folder.sliders)
        tensors, meta = load_tensors(folder.sliders, kind="k")
        assert (tensors["x"] == meta["version"]).all()
        if left is not None:
            break
    else:
        pytest.fail("never caught it writing")
    with folder.open_for_writing():
        assert not left.exists(), "the next run clears what the killed one left"
        assert folder.sliders.exists()


WRITE_AND_WAIT = """if True:
    import sys
    from pathlib import Path
    from sliderspace.storage.atomic import replacing
    with replacing(Path(sys.argv[1]), 0) as temporary:
        print(temporary, flush=True)
        sys.stdin.readline()"""


def test_of_the_temporary_files_those_go_whose_writers_are_gone(tmp_path: Path):
    """Wherever a run writes, and nothing under other names."""
    folder = RunFolder(tmp_path / "run")
    folder.open_for_writing().close()
    stale: list[Path] = []
    for place in (folder.root, folder.trajectories, folder.unfinished.root, folder.unfinished.measuring):
        place.mkdir(exist_ok=True)
        stale.append(place / f".a.json.{'0f' * 16}.partial")
    foreign = folder.root / ".notes.partial"
    for path in (*stale, foreign):
        path.write_text("x")
    writer = child(WRITE_AND_WAIT, folder.trajectories / "b.json")
    assert writer.stdout is not None
    written = Path(writer.stdout.readline().strip())
    folder.open_for_writing().close()
    assert not any(path.exists() for path in stale) and foreign.exists()
    assert written.exists(), "several processes may write into a folder"
    finish(writer)
    assert (folder.trajectories / "b.json").exists() and not written.exists()


def test_where_there_are_no_locks_old_temporary_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(atomic, "LOCKS", False)
    old, new = (tmp_path / f".a.json.{digit * 32}.partial" for digit in "01")
    for path in (old, new):
        path.write_text("x")
    os.utime(old, (0, time.time() - atomic.STALE_AFTER - 1))
    save_text(tmp_path / "b.txt", "text")
    atomic.remove_stale(tmp_path)
    assert names(tmp_path) == {new.name, "b.txt"}


def test_a_name_taken_for_stale_before_it_was_locked_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real, given_up = atomic._locked, []

    def locked(file: Any, *, wait: bool = True) -> bool | None:
        if not given_up:
            given_up.append(file.name)
            Path(file.name).unlink()
        return real(file, wait=wait)

    monkeypatch.setattr(atomic, "_locked", locked)
    save_text(tmp_path / "b.txt", "text")
    assert given_up and names(tmp_path) == {"b.txt"}


def test_ctrl_c_before_the_first_byte_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Between the making of the temporary file and its use: a window of microseconds, met once in a loaded suite."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "_locked", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_text(tmp_path / "a.txt", "text")
    assert names(tmp_path) == set()


def test_ctrl_c_while_saving_leaves_nothing_behind(tmp_path: Path):
    code = """if True:
        import os, signal, sys, threading
        from sliderspace.storage.files import save_bytes
        signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let what runs behind ignore it
        save_bytes(sys.argv[1], b"old")
        data = bytes(4_000_000)
        try:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            for _ in range(2000):
                save_bytes(sys.argv[1] + ".new", data)
        except KeyboardInterrupt:
            print("interrupted")"""
    assert finish(child(code, tmp_path / "a")) == "interrupted\n"
    assert (tmp_path / "a").read_bytes() == b"old"
    assert not list(tmp_path.glob(".*"))


def test_two_drivers_in_one_process_cannot_write_one_folder_either(tmp_path: Path):
    with RunFolder(tmp_path / "run").open_for_writing(), pytest.raises(SliderSpaceError, match="another run"):
        RunFolder(tmp_path / "run").open_for_writing()
    RunFolder(tmp_path / "run").open_for_writing().close()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_still_takes_a_run(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch):
    """Also one that comes from a file system with locks, whose files lie there."""
    import fcntl

    def none(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with RunFolder(tmp_path / "run").open_for_writing() as run, run.gathering():
        pass
    monkeypatch.setattr(fcntl, "flock", none)
    with RunFolder(tmp_path / "run").open_for_writing() as run, run.gathering():
        pass


def test_parts_cannot_be_put_together_in_a_folder_that_may_not_be_written(open_path: Path):
    with (
        as_nobody(open_path, 0o555),
        pytest.raises(BadInput, match=r"(?i)permission denied"),
        RunFolder(open_path).gathering(),
    ):
        pass


# ---- from one space to the next

PARTS = ("config.json", "directions.safetensors", "sliders.safetensors", "measures.json", "space.json")


def put(places: Any, version: str) -> None:
    """A space whose every part says which version it is of."""
    save_json(places.config, {"version": version}, kind="config", fingerprint=f"{version}-config")
    for name in ("directions", "sliders"):
        values = {"x": torch.full((3,), float(version))}
        save_tensors(getattr(places, name), values, kind=name, fingerprint=f"{version}-{name}")
    save_json(places.measures, {"version": version}, kind="measures", fingerprint=f"{version}-measured")
    made_from = {name: f"{version}-{name}" for name in ("config", "directions", "sliders")}
    save_json(places.space, {"made_from": made_from}, kind="space", fingerprint=f"{version}-measured")


def seen(root: Path) -> str:
    """The version that a reader finds, all of whose parts must be of it."""
    run = RunFolder(root)
    parts = run.whole_space()
    assert parts is not None
    versions = {str(int(load_tensors(parts[name], kind=name)[0]["x"][0])) for name in ("directions", "sliders")}
    versions.add(load_json(parts["config"], kind="config")["version"])
    made = stored_fingerprint(parts["space"]) or ""
    measures = run.find("measures.json", made)
    assert measures is not None
    versions.add(load_json(measures, kind="measures")["version"])
    (version,) = versions
    assert made == f"{version}-measured"
    return version


class Killed(BaseException):
    pass


def replace_until(count: int) -> Any:
    """os.replace that works `count` times and then never again, as for a killed process."""
    real, done = os.replace, iter(range(count))

    def replace(*paths: Any) -> None:
        if next(done, None) is None:
            raise Killed
        real(*paths)

    return replace


@pytest.mark.parametrize("count", range(7))
def test_killed_between_two_renames_a_reader_finds_the_old_space_or_the_new(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
):
    run = RunFolder(tmp_path / "run").open_for_writing()
    put(run, "1")
    put(run.unfinished, "2")
    assert seen(run.root) == "1", "until it is published nothing changes"
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace_until(count))
        if count < 6:  # the list of what is published, then the parts
            with pytest.raises(Killed):
                run.publish(PARTS)
        else:
            run.publish(PARTS)
    run.close()
    assert seen(run.root) == ("1" if count < 2 else "2")
    with RunFolder(run.root).open_for_writing() as opened:
        assert opened.unfinished.sliders_parts.is_dir() and opened.unfinished.measuring.is_dir()
    assert seen(run.root) == ("1" if count == 0 else "2"), "begun, it is ended by whoever opens the folder next"
    assert run.unfinished.root.exists() == (count == 0)


def test_whoever_comes_while_another_publishes_waits(tmp_path: Path):
    """A worker may begin while the last one puts all together."""
    run = RunFolder(tmp_path / "run").open_for_writing((0, 2))
    put(run.unfinished, "2")
    beside = RunFolder(run.root)
    with run.gathering():
        save_json(run.unfinished.root / "publishing.json", {"names": PARTS}, kind="publishing", fingerprint="")
        begins = Thread(target=lambda: beside.open_for_writing((1, 2)))
        begins.start()
        begins.join(0.1)
        assert begins.is_alive() and names(run.unfinished.root) >= set(PARTS)
    begins.join(10)
    assert seen(run.root) == "2"
    beside.close()
    run.close()


def test_what_is_unfinished_may_lie_elsewhere(tmp_path: Path):
    RunFolder(tmp_path / "run").open_for_writing().close()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / "unfinished").symlink_to(tmp_path / "elsewhere")
    for version in "12":
        with RunFolder(tmp_path / "run").open_for_writing() as run:
            put(run.unfinished, version)
            run.publish(PARTS)
        assert seen(run.root) == version


def apart(far: Path) -> Any:
    """os.replace as the system has it where `far` is a file system of its own."""
    real = os.replace

    def replace(source: Any, target: Any) -> None:
        if (Path(source).parent.resolve() == far) != (Path(target).parent.resolve() == far):
            raise OSError(errno.EXDEV, "Invalid cross-device link", source, None, target)
        real(source, target)

    return replace


def test_what_is_unfinished_may_lie_on_another_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (far := tmp_path.resolve() / "scratch").mkdir()
    monkeypatch.setattr(os, "replace", apart(far))
    for version in "12":
        far.mkdir(exist_ok=True)
        with RunFolder(tmp_path / "run").open_for_writing() as run:
            if version == "1":
                shutil.rmtree(run.unfinished.root)
                run.unfinished.root.symlink_to(far)
            put(run.unfinished, version)
            run.publish(PARTS)
        assert seen(run.root) == version
        assert not far.exists() and not any(path.name.endswith(".partial") for path in run.root.iterdir())


def test_a_full_disk_while_a_space_comes_from_another_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (far := tmp_path.resolve() / "scratch").mkdir()
    run = RunFolder(tmp_path / "run").open_for_writing()
    put(run, "1")
    shutil.rmtree(run.unfinished.root)
    run.unfinished.root.symlink_to(far)
    put(run.unfinished, "2")
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", apart(far))
        patched.setattr(shutil, "copyfile", full)
        with pytest.raises(DiskFull, match="it needs"):
            run.publish(PARTS)
    run.close()
    assert load_json(run.space, kind="space")["made_from"]["sliders"] == "1-sliders"
    run.open_for_writing().close()
    assert seen(run.root) == "2"


def test_a_real_kill_between_two_renames(tmp_path: Path):
    run = RunFolder(tmp_path / "run").open_for_writing()
    put(run, "1")
    put(run.unfinished, "2")
    run.close()
    code = """if True:
        import os, sys
        from sliderspace.storage.run_folder import RunFolder
        real, names = os.replace, sys.argv[2:]
        def replace(source, target):
            if str(target).endswith("sliders.safetensors"):
                os._exit(0)
            real(source, target)
        os.replace = replace
        RunFolder(sys.argv[1]).open_for_writing().publish(names)"""
    finish(child(code, run.root, *PARTS))
    assert seen(run.root) == "2" and run.space.exists() and run.unfinished.space.exists()
    run.open_for_writing().close()
    assert seen(run.root) == "2" and not run.unfinished.space.exists()


def test_what_did_not_change_is_found_where_it_was(tmp_path: Path):
    """Only the sliders are trained anew: the new space stands on the old directions."""
    run = RunFolder(tmp_path / "run").open_for_writing()
    put(run, "1")
    values = {"x": torch.full((3,), 2.0)}
    save_tensors(run.unfinished.sliders, values, kind="sliders", fingerprint="2-sliders")
    made_from = {"config": "1-config", "directions": "1-directions", "sliders": "2-sliders"}
    save_json(run.unfinished.space, {"made_from": made_from}, kind="space", fingerprint="2-measured")
    assert run.find("sliders.safetensors", "1-sliders") == run.sliders
    assert run.find("sliders.safetensors", "2-sliders") == run.unfinished.sliders
    assert run.find("sliders.safetensors", "3-sliders") is None
    run.publish(PARTS)
    assert run.whole_space() == {
        "space": run.space,
        "config": run.config,
        "directions": run.directions,
        "sliders": run.sliders,
    }
    assert stored_fingerprint(run.sliders) == "2-sliders" and stored_fingerprint(run.directions) == "1-directions"
    run.close()


def test_a_damaged_unfinished_file_does_not_hide_the_whole_one(tmp_path: Path):
    run = RunFolder(tmp_path / "run").open_for_writing()
    put(run, "1")
    run.unfinished.sliders.write_bytes(b"half")
    assert run.find("sliders.safetensors", "1-sliders") == run.sliders
    with pytest.raises(DamagedFile, match="unfinished"):
        run.find("sliders.safetensors", "2-sliders")
    run.unfinished.root.joinpath("publishing.json").write_text("{}")
    run.close()
    for _ in range(2):  # the first failure has let the lock go
        with pytest.raises(DamagedFile, match=r"publishing\.json"):
            run.open_for_writing()


@pytest.mark.parametrize("name", ["../settings.json", "labels.json", "trajectories/000000.safetensors", 7, ["a"]])
def test_what_is_published_is_a_part_of_a_space_and_nothing_else(tmp_path: Path, name: object):
    """The list may be a stranger's, who would move his files to places of his choice."""
    run = RunFolder(tmp_path / "run").open_for_writing()
    (run.root / "settings.json").write_text("theirs")
    (tmp_path / "settings.json").write_text("mine")
    listed = {"names": ["space.json", name]}
    save_json(run.unfinished.root / "publishing.json", listed, kind="publishing", fingerprint="")
    run.close()
    with pytest.raises(DamagedFile, match=r"publishing\.json"):
        run.open_for_writing()
    assert (tmp_path / "settings.json").read_text() == "mine"


def test_a_space_of_which_a_part_is_missing_is_no_space(tmp_path: Path):
    run = RunFolder(tmp_path / "run").open_for_writing()
    assert run.whole_space() is None
    put(run, "1")
    run.directions.unlink()
    assert run.whole_space() is None
    for made_from in ({}, None, 3, {"lock": "f"}, {"nothing": "f"}, {"config": 7}):
        save_json(run.space, {"made_from": made_from}, kind="space", fingerprint="f")
        assert run.whole_space() is None
    run.close()


def test_trajectories_that_were_shared_and_cleared_away_are_made_again(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.open_for_writing().close()
    run.trajectories.rmdir()
    run.trajectories.symlink_to(tmp_path / "common", target_is_directory=True)
    with run.open_for_writing():
        assert (tmp_path / "common").is_dir() and run.trajectories.is_symlink()


def test_of_a_worker_and_a_whole_run_that_begin_at_once_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker begins when the whole run has taken its own lock, or is about to."""
    whole, worker = RunFolder(tmp_path), RunFolder(tmp_path)
    (tmp_path / ".sliderspace.lock").touch()
    (tmp_path / ".worker-0-of-2.lock").touch()
    take, told = run_folder.take, list[str]()

    def between(path: Path, *, timeout: float = -1) -> Any:
        if path.name.startswith(".worker") and timeout == 0 and not told:
            told.append("")
            taken = take(path, timeout=0)
            taken.release()
            try:
                worker.open_for_writing((0, 2))
            except Held as error:
                told[0] = str(error)
            return taken
        return take(path, timeout=timeout)

    monkeypatch.setattr(run_folder, "ASKING", 0.05)
    monkeypatch.setattr(run_folder, "take", between)
    whole.open_for_writing()
    assert "another run is writing" in told[0]
    whole.close()
    worker.open_for_writing((0, 2)).close()
