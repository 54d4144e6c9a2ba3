"""Sliders as LoRA files for other tools, one file a slider. `imports` reads them back.

In a file, strength 1.0 is `unit` natural units: the scale is multiplied into the up-projection, since PEFT files carry
none. The metadata entry "sliderspace" (JSON) says what the slider is and holds its direction, so that files alone make
a whole space.
"""

import base64
import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.measure.results import Measures, SliderMeasures, SpaceFile
from sliderspace.method.directions import Directions
from sliderspace.share.lora_names import FORMATS, LABELS, Format, component_of, family_of, keys_for
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import save_bytes, stored_fingerprint
from sliderspace.storage.images import writable
from sliderspace.storage.run_folder import RunFolder

KIND, NUMBER = "sliderspace-lora", 1  # of the metadata: files of every earlier number stay readable
ENTRY = "sliderspace"


class Direction(BaseModel):
    """What `Directions` knows of one row. `mean_T` is all of its mean that a coordinate along the row needs."""

    vector: str  # [D] float64, little endian, base64
    mean_T: list[float]
    sigma_T: list[float]
    explained_variance: float
    explained_variance_ratio: float
    total_variance: float
    step_share: float
    centring: str
    encoder: str
    count: int
    trajectories: int
    step_indices: list[int]


class About(BaseModel):
    """The metadata of a file. Keys that a later version adds are passed over; `unit` is how many natural units strength
    1.0 is."""

    model_config = ConfigDict(frozen=True)

    format: str
    package: str
    space: str  # the same for all sliders of one space
    index: int
    name: str | None
    base_model: str
    prompts: list[str]
    encoder: str
    explained_variance_ratio: float
    unit: float = Field(gt=0)
    rank: int
    targets: str
    component: str
    layout: Format
    layers: list[str]
    measures: SliderMeasures | None
    settings: dict[str, Any]
    direction: Direction


def export(
    space: SliderSpace,
    folder: str | Path,
    *,
    format: Format = "diffusers",
    sliders: Sequence[int] | None = None,
    unit: float = 1.0,
) -> list[Path]:
    """Write one LoRA file for each of `sliders` (all if None) into `folder`; a strength of 1.0 in other tools is `unit`
    natural units.

    The same space gives the same bytes. Raises BadInput: no such format or slider, a unit that is not above 0, nowhere
    to write.
    """
    if format not in FORMATS:
        raise BadInput(f"no format '{format}': choose {' or '.join(FORMATS)}")
    if not (math.isfinite(unit) and unit > 0):
        raise BadInput(f"a unit of {unit:g}: strength 1.0 has to be some natural units above 0, for example 1")
    chosen = list(range(len(space)) if sliders is None else sliders)
    space.strengths(dict.fromkeys(chosen, 0.0))  # raises for sliders there are not
    folder, notes = writable(Path(folder)), slider_notes(space)
    paths = [folder / file_name(space.settings.prompts[0], k, notes[k]["name"]) for k in chosen]
    for k, path in zip(chosen, paths, strict=True):
        save_bytes(path, _lora_file(space, k, format, unit, notes[k]))
    return paths


def slider_notes(space: SliderSpace) -> list[dict[str, Any]]:
    """For each slider its `name` and its `measures`, where the run folder has them (else None)."""
    run = RunFolder(space.folder)
    listed = SpaceFile.read(run.space).sliders
    measured = Measures.read(run.measures).sliders if run.measures.exists() else [entry.measures for entry in listed]
    if len(measured) != len(listed):
        raise DamagedFile(f"{run.measures} is not of these {len(listed)} sliders.\n{Measures.mending(run.measures)}")
    found = [None if m is None else m.model_dump(mode="json", exclude_unset=True) for m in measured]
    return [{"name": entry.name, "measures": m} for entry, m in zip(listed, found, strict=True)]


def file_name(prompt: str, index: int, name: str | None) -> str:
    """What a user sees in the LoRA menus of other tools: a-robot-03-red-hair.safetensors."""
    return "-".join([_slug(prompt) or "slider", f"{index:02d}", *filter(None, [_slug(name or "")])]) + ".safetensors"


def _slug(text: str) -> str:
    """Text as a part of a file name that every system takes."""
    return re.sub(r"[\W_]+", "-", text.casefold())[:40].strip("-")


def _lora_file(space: SliderSpace, k: int, layout: Format, unit: float, note: dict[str, Any]) -> bytes:
    down = {name.removesuffix(".down"): v[k].float() for name, v in space.values.items() if name.endswith(".down")}
    about = _about(space, k, unit, note, component=component_of(down), layout=layout, layers=list(down))
    metadata = {"format": "pt", ENTRY: json.dumps(about.model_dump()), "modelspec.title": _title(about)}
    tensors: dict[str, Tensor] = {}
    for path, a_RI in down.items():
        keys = keys_for(path, about.component, layout)
        tensors |= {keys.down: a_RI, keys.up: space.values[f"{path}.up"][k].float() * (float(space.units_K[k]) * unit)}
        if keys.alpha:
            tensors[keys.alpha] = torch.tensor(float(about.rank))
    if layout == "diffusers":
        # The least that diffusers makes a LoraConfig of: a key that some version of peft does not know would be
        # refused.
        adapter = {"r": about.rank, "lora_alpha": about.rank, "target_modules": about.layers}
        metadata["lora_adapter_metadata"] = json.dumps(
            {f"{about.component}.{key}": value for key, value in adapter.items()}
        )
    elif about.component == "unet":
        metadata |= LABELS.get(family_of(down), {})
    return _serialised({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, metadata)


def _about(
    space: SliderSpace, k: int, unit: float, note: dict[str, Any], *, component: str, layout: Format, layers: list[str]
) -> About:
    s, direction = space.settings, _direction(space.directions, k)
    return About(
        format=f"{KIND}/{NUMBER}",
        package=_package_version(),
        space=stored_fingerprint(RunFolder(space.folder).sliders) or "",
        index=k,
        name=note["name"],
        base_model=s.backbone,
        prompts=list(s.prompts),
        encoder=direction.encoder,
        explained_variance_ratio=direction.explained_variance_ratio,
        unit=unit,
        rank=s.rank,
        targets=s.targets,
        component=component,
        layout=layout,
        layers=layers,
        measures=note["measures"],
        settings=s.model_dump(mode="json"),
        direction=direction,
    )


def _direction(d: Directions, k: int) -> Direction:
    return Direction(
        vector=base64.b64encode(d.components_KD[k].astype("<f8").tobytes()).decode(),
        mean_T=(d.mean_TD @ d.components_KD[k]).tolist(),
        sigma_T=d.sigma_TK[:, k].tolist(),
        explained_variance=float(d.explained_variance_K[k]),
        explained_variance_ratio=float(d.explained_variance_ratio_K[k]),
        total_variance=d.total_variance,
        step_share=d.step_share,
        centring=d.centring,
        encoder=d.encoder,
        count=d.count,
        trajectories=d.trajectories,
        step_indices=list(d.step_indices),
    )


def _package_version() -> str:
    with suppress(PackageNotFoundError):
        return version("sliderspace")
    return "unknown"


def _title(about: About) -> str:
    title = f"{about.name or f'slider {about.index}'} of “{about.prompts[0]}”, 1.0 = {about.unit:g} natural units"
    return title.encode(errors="replace").decode()  # a prompt typed in a broken terminal may hold what UTF-8 cannot say


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
