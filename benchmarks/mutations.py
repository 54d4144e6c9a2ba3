"""Every file of a run, spoiled in random ways, before every reader of it: what `faults.py` and the fuzz tests count.

A broken file has to be an error of a few lines, or harmless; never a traceback, a hang, or read as something else.
"""

import copy
import hashlib
import json
import random
import shutil
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sliderspace.core.errors import SliderSpaceError
from sliderspace.core.settings import Speed
from sliderspace.engine.begin import stored_settings
from sliderspace.engine.overview import overview
from sliderspace.engine.status import describe_run
from sliderspace.method import trajectories
from sliderspace.report.from_run import report_run
from sliderspace.report.gallery import write_gallery
from sliderspace.share.export import export
from sliderspace.share.importing import import_space
from sliderspace.share.metadata import CHECKSUM
from sliderspace.space.labels import Label, write_labels
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import load_tensors, save_tensors, stored_fingerprint
from sliderspace.storage.run_folder import RunFolder

LINES = 3  # that an error may take
HANGS_S = 60  # after which a reader counts as hanging
SAMPLED = 138  # trajectories of the run, held-out ones among them


# ---- readers: each returns what must be the same whenever nothing is wrong


def make_whole(folder: Path) -> None:
    """What a finished run has where its sliders are named and exported."""
    run = RunFolder(folder)
    names = [Label(name="longer arms", proposed="arms", sentence="The arms grow.", high="long", by="a model")]
    made = stored_fingerprint(run.sliders)
    assert made
    write_labels(run, names * len(SliderSpace.load(folder).units_K), made)
    export(SliderSpace.load(folder, Speed(device="cpu")), folder.parent / "exported")


def digest(*parts: Any) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(np.ascontiguousarray(part).tobytes() if hasattr(part, "shape") else str(part).encode())
    return found.hexdigest()


def loaded(folder: Path) -> str:
    return contents(SliderSpace.load(folder, Speed(device="cpu")))


def contents(space: SliderSpace) -> str:
    assert all(value.isfinite().all() for value in space.values.values()), "sliders that are not finite"
    axes = space.directions.components_KD if space.directions else None  # None where no file says what it was made for
    return digest(*space.values.values(), axes, space.units_K, space.describe())


def reported(folder: Path) -> str:
    report_run(RunFolder(folder))
    return ""  # the page holds the time of day


def described(folder: Path) -> str:
    return json.dumps(describe_run(folder).plain())


def exported(folder: Path) -> str:
    paths = export(SliderSpace.load(folder, Speed(device="cpu")), folder / "again")
    return digest(*(path.read_bytes() for path in paths))


def imported(folder: Path) -> str:
    shutil.rmtree(folder.parent / "imported", ignore_errors=True)
    return contents(import_space(folder.parent / "exported", folder.parent / "imported"))


def listed(folder: Path) -> str:
    write_gallery(folder.parent)
    return "\n".join(map(str, overview(folder.parent)))


def continued(folder: Path) -> str:
    """What every stage of an engine reads first."""
    return digest(stored_settings(RunFolder(folder)))


def sampled(folder: Path) -> str:
    made = (stored_fingerprint(folder / "trajectories" / "000000.safetensors") or "").partition(":")[0]
    found = trajectories.load(trajectories.shards(folder / "trajectories", SAMPLED, trajectories.SHARD, made))
    every = torch.arange(len(found))
    x_TNCHW = [found.x(every, torch.full_like(every, t)) for t in range(len(found.steps_T))]
    return digest(*x_TNCHW, found.z_NTD, found.prompt_N, found.steps_T)


def encoded(folder: Path) -> str:
    tensors, meta = load_tensors(folder / "texts.safetensors", kind="texts")
    return digest(*tensors.values(), meta)


READERS: dict[str, tuple[Callable[[Path], str], ...]] = {
    "config.json": (loaded, described, continued, reported, listed),
    "space.json": (loaded, exported, reported, listed),
    "measures.json": (described, reported, exported, listed),
    "observability.json": (described,),
    "labels.json": (described, reported, exported, listed),
    "evaluation.json": (reported,),
    "directions.safetensors": (loaded, reported),
    "sliders.safetensors": (loaded, exported, reported),
    "strips.safetensors": (reported,),
    "texts.safetensors": (encoded,),
    "trajectories/000000.safetensors": (sampled,),
    "exported": (imported,),
}
CASES = [(name, reader) for name, readers in READERS.items() for reader in readers]


def place_of(run: Path, name: str) -> Path:
    """The file of a case."""
    return min((run.parent / "exported").glob("*.safetensors")) if name == "exported" else run / name


# ---- ways to spoil a file

OTHERS: tuple[Any, ...] = (None, "seven", "", -1, 2.5, 10**30, True, [], {}, [[]], {"a": None}, float("nan"), "\x1b[2J")


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything inside JSON data."""
    if isinstance(data, dict | list):
        for key in data if isinstance(data, dict) else range(len(data)):
            yield (*path, key)
            yield from places(data[key], (*path, key))


def spoiled_json(data: Any, draw: random.Random) -> Any:
    """The data with one thing lost or replaced. What lies high up is spoiled as often as what lies deep."""
    data = copy.deepcopy(data)
    listed = list(places(data))
    depth = draw.choice(sorted({len(path) for path in listed}))
    *way, last = draw.choice([path for path in listed if len(path) == depth])
    inside = data
    for key in way:
        inside = inside[key]
    if draw.random() < 0.3:
        del inside[last]
    else:
        inside[last] = draw.choice(OTHERS)
    return data


def spoiled_bytes(data: bytes, draw: random.Random) -> bytes:
    if draw.random() < 0.3:
        return data[: draw.randrange(len(data))]
    changed = bytearray(data)
    head = min(len(data), 4000) if draw.random() < 0.5 else len(data)
    for _ in range(draw.choice([1, 1, 4])):
        changed[draw.randrange(head)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def spoiled_tensors(tensors: dict[str, torch.Tensor], draw: random.Random) -> dict[str, torch.Tensor]:
    """One tensor lost, of another shape or type, under another name, or with a value that is none."""
    name = draw.choice(sorted(tensors))
    value = tensors[name].clone()
    kept = {n: t for n, t in tensors.items() if n != name}
    way = draw.choice(["lost", "named", "flat", "short", "deep", "empty", "type", "nan", "inf"])
    if way in ("nan", "inf") and value.is_floating_point() and value.numel():
        value.view(-1)[draw.randrange(value.numel())] = float(way)
    changed = {
        "lost": {},
        "named": {f"{name}x": value},
        "flat": {name: value.reshape(-1)},
        "short": {name: value[:-1] if value.ndim else value},
        "deep": {name: value[None]},
        "empty": {name: value[:0] if value.ndim else value},
        "type": {name: value.to(draw.choice([torch.float64, torch.float32, torch.int64, torch.uint8, torch.bool]))},
    }
    return {**kept, **changed.get(way, {name: value})}


def rewritten_json(path: Path, draw: random.Random) -> None:
    path.write_text(json.dumps(spoiled_json(json.loads(path.read_bytes()), draw)))


def rewritten_tensors(path: Path, draw: random.Random) -> None:
    """A whole file of wrong contents, with checksums that hold: as a faulty program would write it."""
    with safe_open(path, framework="pt") as file:
        stamp = json.loads(file.metadata()["sliderspace"])
    tensors, meta = load_tensors(path, kind=stamp["kind"])
    if meta and draw.random() < 0.4:
        meta = spoiled_json(meta, draw)
    else:
        tensors = spoiled_tensors(tensors, draw)
    save_tensors(path, tensors, kind=stamp["kind"], fingerprint=stamp["fingerprint"], **meta)


def rewritten_lora(path: Path, draw: random.Random) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    del metadata[CHECKSUM]  # the first version wrote none
    tensors = {name: value.clone() for name, value in load_file(path).items()}
    if draw.random() < 0.5:
        metadata["sliderspace"] = json.dumps(spoiled_json(json.loads(metadata["sliderspace"]), draw))
    else:
        tensors = {name: value.contiguous() for name, value in spoiled_tensors(tensors, draw).items()}
    save_file(tensors, path, metadata=metadata)


def spoil(path: Path, draw: random.Random) -> bool:
    """Spoil a file; whether it then has to be refused, or read as it was."""
    if draw.random() < 0.35:
        path.write_bytes(spoiled_bytes(path.read_bytes(), draw))
        return path.suffix == ".safetensors"
    rewrite = rewritten_json if path.suffix == ".json" else rewritten_tensors
    (rewritten_lora if "exported" in path.parts else rewrite)(path, draw)
    return False


# ---- what they do about it


def faults(run: Path, name: str, reader: Callable[[Path], str], seeds: Iterable[int]) -> list[str]:
    """What goes wrong when the file of a case is spoiled, once a seed: a line each. The file is left as it was."""
    path, expected = place_of(run, name), reader(run)
    whole = path.read_bytes()
    found: list[str] = []
    for seed in seeds:
        draw = random.Random(f"{name} {reader.__name__} {seed}")
        try:
            strict = spoil(path, draw)
            with limited(HANGS_S):
                read = reader(run)
            if strict and read != expected:
                found.append(f"{seed}: read as something else")
        except SliderSpaceError as error:
            if str(error).count("\n") >= LINES:
                found.append(f"{seed}: an error of many lines: {error}")
        except Exception as error:
            found.append(f"{seed}: {type(error).__name__}: {error}"[:200])
        finally:
            path.write_bytes(whole)
    return found if reader(run) == expected else [*found, "the reader changed the run"]


@contextmanager
def limited(seconds: int) -> Generator[None]:
    """TimeoutError where the block takes longer, on systems that can tell."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def too_long(*_: object) -> None:
        raise TimeoutError(f"no answer in {seconds} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
