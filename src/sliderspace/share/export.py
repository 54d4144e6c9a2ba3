"""Sliders as LoRA files for other programs, one file a slider. `importing` reads them back.

In a file, strength 1.0 is `unit` natural units: the scale is multiplied into the up-projection, since not every layout
carries one.
"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.measure.results import Measures, SpaceFile
from sliderspace.share.lora_names import LABELS, component_of, family_of, keys_for
from sliderspace.share.metadata import CHECKSUM, ENTRY, About, about, about_in, checksum_of, title
from sliderspace.share.places import shareable, short_name
from sliderspace.space.labels import labels_of
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import save_bytes, stored_fingerprint
from sliderspace.storage.images import writable
from sliderspace.storage.run_folder import RunFolder


def export(
    space: SliderSpace, folder: str | Path, *, sliders: Sequence[int] | None = None, unit: float = 1.0
) -> list[Path]:
    """Write one LoRA file for each of `sliders` (all if None) into `folder`; a strength of 1.0 in other programs is
    `unit` natural units.

    The same space gives the same bytes; the file that a slider had under an earlier name goes. Raises BadInput: no such
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
    layers = [name.removesuffix(".down") for name in space.values if name.endswith(".down")]
    shared = {"space": made_from, "unit": unit, "component": component_of(layers)}
    for k, path in zip(chosen, paths, strict=True):
        _remove_other_names(path, file_name(settings.prompts[0], settings.backbone, k, None), made_from)
        save_bytes(path, _lora_file(space, k, about(settings, space.directions, k, **shared, **notes[k])))
    return paths


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


def _about_at(path: Path) -> About | None:
    """What the file at `path` says of its slider; None if it is not ours, or cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:  # pyright: ignore[reportUnknownVariableType]
            return about_in(path, file.metadata() or {})
    except (OSError, SafetensorError, ValueError, BadInput):
        return None


def _lora_file(space: SliderSpace, k: int, about: About) -> bytes:
    down = {name.removesuffix(".down"): v[k].float() for name, v in space.values.items() if name.endswith(".down")}
    metadata = {"format": "pt", ENTRY: json.dumps(about.model_dump()), "modelspec.title": title(about)}
    if about.component == "unet":
        metadata |= LABELS.get(family_of(down), {})
    scale = float(space.units_K[k]) * about.unit
    tensors: dict[str, Tensor] = {}
    for path, a_RI in down.items():
        keys = keys_for(path, about.component)
        tensors |= {keys.down: a_RI, keys.up: space.values[f"{path}.up"][k].float() * scale}
        if keys.alpha:
            tensors[keys.alpha] = torch.tensor(float(len(a_RI)))
    ready = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    return _serialised(ready, {**metadata, CHECKSUM: checksum_of(metadata, ready)})


def _serialised(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """A safetensors file whose metadata is in order: the library writes it in one that changes from run to run."""
    from safetensors.torch import save

    data = save(tensors, metadata=metadata)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the values begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + data[end:]
