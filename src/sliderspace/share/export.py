"""Sliders as LoRA files for other programs, one file a slider, each with a picture and notes beside it. `importing`
reads them back.

In a file, strength 1.0 is `unit` natural units: the scale is multiplied into the up-projection, since not every layout
carries one.
"""

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sliderspace.core.errors import BadInput, DamagedFile, SliderSpaceError
from sliderspace.measure.results import Measures, SpaceFile
from sliderspace.models.backbones import PRESETS
from sliderspace.models.sources import is_repo
from sliderspace.share import modelspec, sidecars
from sliderspace.share.lora_names import component_of, family_of, keys_for
from sliderspace.share.metadata import CHECKSUM, ENTRY, About, about, about_in, checksum_of
from sliderspace.share.modelspec import Family, family
from sliderspace.share.pictures import Strips, stored_strips
from sliderspace.share.places import shareable, short_name
from sliderspace.space.labels import labels_of
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import save_bytes, stored_fingerprint
from sliderspace.storage.images import encode_jpeg, writable
from sliderspace.storage.run_folder import RunFolder


def export(
    space: SliderSpace, folder: str | Path, *, sliders: Sequence[int] | None = None, unit: float = 1.0
) -> list[Path]:
    """Write one LoRA file for each of `sliders` (all if None) into `folder`; a strength of 1.0 in other programs is
    `unit` natural units. Beside each lie a strip, NAME.png, and A1111's notes, NAME.json.

    The same space gives the same bytes; the files that a slider had under an earlier name go, and what somebody changed
    beside them stays. Raises BadInput: no such
    slider, a unit that is not above 0, nowhere to write, or a file in the way that is not of this space; then nothing
    is written.
    """
    if not (math.isfinite(unit) and unit > 0):
        raise BadInput(f"a unit of {unit:g}: strength 1.0 has to be some natural units above 0, for example 1")
    chosen = list(range(len(space)) if sliders is None else sliders)
    space.strengths(dict.fromkeys(chosen, 0.0))  # raises for sliders there are not
    folder = writable(Path(folder))
    notes = slider_notes(space)
    settings = shareable(space.settings)
    made_from = stored_fingerprint(RunFolder(space.folder).sliders) or ""
    paths = [folder / file_name(settings.prompts[0], settings.backbone, k, notes[k]["label"].sure_name) for k in chosen]
    for path in paths:
        _check_replaceable(path, made_from)
    known = known_as(space)
    strips = stored_strips(RunFolder(space.folder))
    shared = {"space": made_from, "unit": unit, "component": component_of(_layers(space))}
    date = _date_of(RunFolder(space.folder).sliders)
    for k, path in zip(chosen, paths, strict=True):
        _remove_other_names(path, file_name(settings.prompts[0], settings.backbone, k, None), made_from)
        said = about(settings, space.directions, k, **shared, **notes[k])
        save_bytes(path, _lora_file(space, k, said, known, date, _pictures(strips, k)))
        sidecars.write(path, said, known, strips and strips.cover(k))
    return paths


def known_as(space: SliderSpace) -> Family:
    """What other programs call the base model of a space, as far as this machine can tell without a network."""
    s = space.settings
    down = {layer: space.values[f"{layer}.down"] for layer in _layers(space)}
    resolution = s.resolution or 0
    if s.backbone in PRESETS or not is_repo(s.backbone):
        with suppress(SliderSpaceError):  # a folder of another machine
            resolution = space.point.image_size
    return family(family_of(down), s.backbone, resolution)


def _layers(space: SliderSpace) -> list[str]:
    return [name.removesuffix(".down") for name in space.values if name.endswith(".down")]


def _date_of(path: Path) -> str:
    """The day, in UTC, on which a file was last written."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()


def _pictures(strips: Strips | None, k: int) -> dict[str, str]:
    """A small square for ModelSpec, and the strip for programs that read `ssmd_cover_images`."""
    if strips is None:
        return {}
    icon, cover = (base64.b64encode(encode_jpeg(image)).decode() for image in (strips.icon(k), strips.cover(k)))
    return {"modelspec.thumbnail": f"data:image/jpeg;base64,{icon}", "ssmd_cover_images": json.dumps([cover])}


def slider_notes(space: SliderSpace) -> list[dict[str, Any]]:
    """For each slider its `label`, and its `measures` where the run folder has them (else None)."""
    run = RunFolder(space.folder)
    listed = SpaceFile.read(run.space).sliders
    measured = Measures.read(run.measures).sliders if run.measures.exists() else [entry.measures for entry in listed]
    if len(measured) != len(listed):
        raise DamagedFile(f"{run.measures} is not of these {len(listed)} sliders.\n{Measures.mending(run.measures)}")
    found = [None if m is None else m.model_dump(mode="json", exclude_unset=True) for m in measured]
    return [{"label": label, "measures": m} for label, m in zip(labels_of(run).sliders, found, strict=True)]


def file_name(prompt: str, model: str, index: int, name: str | None) -> str:
    """What a user sees in the LoRA menus of other programs: a-robot--sdxl-03-red-hair.safetensors."""
    concept = f"{_slug(prompt) or 'slider'}--{_slug(short_name(model)) or 'model'}"
    return "-".join([concept, f"{index:02d}", *filter(None, [_slug(name or "")])]) + ".safetensors"


def _slug(text: str) -> str:
    """Text as a part of a file name that every system takes."""
    return re.sub(r"[\W_]+", "-", text.casefold())[:40].strip("-")


def _check_replaceable(path: Path, space: str) -> None:
    """BadInput where `path` holds anything but a slider of this space."""
    if path.exists() and getattr(_about_at(path), "space", None) != space:
        raise BadInput(
            f"{path} is not a slider of this space, so it was not replaced and nothing was written.\n"
            f"Export into another folder with --out, or delete that file first."
        )


def _remove_other_names(path: Path, unnamed: str, space: str) -> None:
    """Without the file that a slider of this space had under an earlier name or none (`unnamed`): two of them cannot be
    imported together."""
    stem = Path(unnamed).stem
    for other in path.parent.glob("*.safetensors"):
        own = other.stem == stem or other.stem.startswith(f"{stem}-")
        if own and other != path and getattr(_about_at(other), "space", None) == space:
            other.unlink()
            sidecars.remove(other)


def _about_at(path: Path) -> About | None:
    """What the file at `path` says of its slider; None if it is not ours, or cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:  # pyright: ignore[reportUnknownVariableType]
            return about_in(path, file.metadata() or {})
    except (OSError, SafetensorError, ValueError, BadInput):
        return None


def _lora_file(
    space: SliderSpace, k: int, about: About, known: Family, date: str, pictures: Mapping[str, str]
) -> bytes:
    scale = float(space.units_K[k]) * about.unit
    tensors: dict[str, Tensor] = {}
    for path in _layers(space):
        keys, a_RI = keys_for(path, about.component), space.values[f"{path}.down"][k].float()
        tensors |= {keys.down: a_RI, keys.up: space.values[f"{path}.up"][k].float() * scale}
        if keys.alpha:
            tensors[keys.alpha] = torch.tensor(float(len(a_RI)))
    ready = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    ours = {"format": "pt", ENTRY: json.dumps(about.model_dump())}
    ours[CHECKSUM] = checksum_of(ours, ready)
    return _serialised(
        ready, lambda digest: {**ours, **modelspec.keys(about, known, date=date, digest=digest), **pictures}
    )


def _serialised(tensors: dict[str, Tensor], metadata: Callable[[str], Mapping[str, str]]) -> bytes:
    """A safetensors file with the metadata that `metadata` makes of the SHA-256 of its values. They are in order: the
    library writes them in one that changes from run to run."""
    from safetensors.torch import save

    data = save(tensors)
    end = 8 + int.from_bytes(data[:8], "little")
    said = dict(sorted(metadata(hashlib.sha256(data[end:]).hexdigest()).items()))
    text = json.dumps({"__metadata__": said, **json.loads(data[8:end])}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the values begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + data[end:]
