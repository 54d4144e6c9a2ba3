"""LoRA files as a space: those that `export` wrote, and those of other origin.

Ours hold their slider, its direction and the settings of the discovery. Others are sliders all the same: strength 1.0
is one unit, and there is no direction to measure them by.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Settings, settings_from
from sliderspace.measure.results import MadeFrom, SliderMeasures, SpaceEntry, SpaceFile
from sliderspace.method.directions import Directions
from sliderspace.models.backbones import PRESETS, preset_for
from sliderspace.models.backbones.lora import split
from sliderspace.models.sources import is_repo
from sliderspace.share.lora_files import LoraFile, load_file
from sliderspace.share.metadata import damaged, directions_of
from sliderspace.share.places import note_on
from sliderspace.space.labels import write_labels
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import fingerprint, save_json, save_tensors, stored_fingerprint
from sliderspace.storage.run_folder import RunFolder

# ---- reading what belongs together


def load_files(source: str | Path) -> list[LoraFile]:
    """The LoRA files of a folder, or one file: our sliders by their number, then mixes and the others by name. Raises
    BadInput when they do not belong together."""
    source = Path(source)
    listed = (path for path in source.glob("*.safetensors") if not path.name.startswith("."))  # macOS adds ._NAME
    paths = sorted(listed) if source.is_dir() else [source]
    if not paths:
        raise BadInput(f"no .safetensors file in {source}: give a LoRA file, or a folder of them.")
    files = [load_file(path) for path in paths]
    ours = sorted((f for f in files if _index(f) is not None), key=lambda file: _index(file) or 0)
    mixes = [f for f in files if f.about and _index(f) is None]
    for one, next_ in itertools.pairwise([*ours, *mixes]):
        _check_pair(one, next_, source)
    return ours + [f for f in files if _index(f) is None]


def _index(file: LoraFile) -> int | None:
    """Its slider's number; None of a mix, and of a file of other origin."""
    return file.about.index if file.about else None


def _check_pair(one: LoraFile, next_: LoraFile, source: Path) -> None:
    if one.about and next_.about and one.about.space != next_.about.space:
        raise BadInput(
            f"{one.path.name} and {next_.path.name} are sliders of different spaces: give each space a folder of its "
            f"own, or import one file."
        )
    if _index(one) is not None and _index(one) == _index(next_):
        raise BadInput(f"{one.path.name} and {next_.path.name} are the same slider: keep one of them in {source}.")


def notes_on(files: Sequence[LoraFile], settings: Settings) -> list[str]:
    """What somebody who imports these files should know, a line each."""
    foreign = [file for file in files if not file.about]
    notes: list[str] = []
    if foreign:
        names = ", ".join(file.path.name for file in foreign)
        notes.append(f"of other origin: {names}; strength 1.0 of the file is one unit, and nothing measured it")
    if _directions(files) is None:
        notes.append("the space has no directions: it draws, exports and is pushed, but is not measured")
    if text := [file.path.name for file in files if file.text]:
        notes.append(f"left out, for sliders act on the denoiser: the text encoder layers of {', '.join(text)}")
    if note := note_on(settings):
        notes.append(note)
    return notes


# ---- making a space of them


def import_space(
    source: str | Path,
    folder: str | Path,
    *,
    backbone: str | None = None,
    lora: str | None = None,
    prompt: str | None = None,
) -> SliderSpace:
    """Make `folder` the run folder of the LoRA files in `source` (a folder or one file): a space that loads, draws and
    exports like any other.

    Sliders are numbered anew from 0, ours in their old order. `backbone` names the base model, where it lies elsewhere
    on this machine or no file says it; `prompt` what is drawn, likewise. With a file of other origin the space has no
    directions. Raises BadInput: files that do not belong together, no such base model, or a `folder` that holds
    another run or other files.
    """
    return make_space(load_files(source), folder, backbone=backbone, lora=lora, prompt=prompt)


def make_space(
    files: Sequence[LoraFile],
    folder: str | Path,
    *,
    backbone: str | None = None,
    lora: str | None = None,
    prompt: str | None = None,
) -> SliderSpace:
    """`import_space` of files read already."""
    settings = _settings(files, base_here(backbone, lora), prompt)
    directions = _directions(files)
    values = _values(files)
    made = fingerprint(imported=[file.digest for file in files])  # so that the same files can be given another model
    run = RunFolder(folder)
    if run.config.exists() and stored_fingerprint(run.config) != made:
        raise BadInput(f"{run.root} already holds another run.\nChoose a new folder; nothing was changed.")
    with run.open_for_writing():
        save_json(run.config, settings.model_dump(mode="json"), kind="config", fingerprint=made)
        if directions is not None:
            directions.save(run.directions, made)
        save_tensors(run.sliders, values, kind="sliders", fingerprint=made, history=[])
        made_from = MadeFrom(directions=None if directions is None else made, sliders=made)
        space = SpaceFile(made_from=made_from, settings=settings, imported=True, sliders=_entries(files))
        write_labels(run, [file.label for file in files], made)
        space.write(run.space, made)
    return SliderSpace.load(folder)


def backbone_here(backbone: str) -> str:
    """The name of a base model as settings hold it: a folder whole, so that it is found from anywhere. Raises BadInput
    for a folder that is not a pipeline's."""
    if backbone in PRESETS or (is_repo(backbone) and not backbone.startswith(".")):
        return backbone
    folder = str(Path(backbone).expanduser().resolve())
    preset_for(folder)
    return folder


def base_here(backbone: str | None, lora: str | None) -> dict[str, str]:
    """The settings that say where a base model lies on this machine, and the LoRA under it, where they are given."""
    place, strength = split(lora or "")
    found = {"lora": str(Path(place).expanduser().resolve()) + strength} if lora else {}
    return found | ({"backbone": backbone_here(backbone)} if backbone else {})


def _settings(files: Sequence[LoraFile], base: dict[str, str], prompt: str | None) -> Settings:
    """Those of the discovery, where a file of ours has them; keys that later versions dropped are left out."""
    about = next((file.about for file in files if file.about), None)
    known = {key: value for key, value in (about.settings if about else {}).items() if key in Settings.model_fields}
    if known.get("pairs"):
        known = _with_own_pairs(known, files)
    chosen: dict[str, Any] = base | ({"prompts": (prompt,)} if prompt else {})
    missing = {"backbone": "--backbone sdxl", "prompts": '--prompt "a robot"'}
    if asked := [example for key, example in missing.items() if key not in known | chosen]:
        raise BadInput(
            f"{files[0].path.name} does not say which model it is for, nor what to draw.\n"
            f"Name both, for example {' '.join(missing.values())}; missing: {', '.join(a.split()[0] for a in asked)}."
        )
    found = settings_from({**known, **chosen, "sliders": len(files)})
    counts = {"samples": max(found.samples, len(files) + 1), "rank": max(file.rank for file in files)}
    return settings_from({**found.model_dump(), **counts})


def _with_own_pairs(known: dict[str, Any], files: Sequence[LoraFile]) -> dict[str, Any]:
    """Settings with the pairs of words of the sliders that are here; with none where not each has one."""
    pairs: dict[int | None, Any] = dict(enumerate(known["pairs"])) if isinstance(known["pairs"], list) else {}
    own = [pairs.get(_index(file)) for file in files]
    if all(own):
        return known | {"pairs": own}
    return {key: value for key, value in known.items() if key not in ("pairs", "objective", "eta")}


def _values(files: Sequence[LoraFile]) -> dict[str, Tensor]:
    """The bank's flat names -> [K, r, in] and [K, out, r]. Layers and ranks that a file has not are zeros there."""
    rank = max(file.rank for file in files)
    first: dict[str, LoraFile] = {}
    values: dict[str, Tensor] = {}
    for k, file in enumerate(files):
        for layer, down_RI in file.down.items():
            up_OR = file.up[layer]
            inputs, outputs = down_RI.shape[1], up_OR.shape[0]
            if first.setdefault(layer, file) is file:
                values[f"{layer}.down"] = torch.zeros(len(files), rank, inputs)
                values[f"{layer}.up"] = torch.zeros(len(files), outputs, rank)
            if (values[f"{layer}.down"].shape[2], values[f"{layer}.up"].shape[1]) != (inputs, outputs):
                raise BadInput(
                    f"{first[layer].path.name} and {file.path.name} are for different models: give each model a folder "
                    f"of its own, or import one file."
                )
            values[f"{layer}.down"][k, : len(down_RI)] = down_RI
            values[f"{layer}.up"][k, :, : len(down_RI)] = up_OR
    return values


def _entries(files: Sequence[LoraFile]) -> tuple[SpaceEntry, ...]:
    """In our files strength 1.0 is `unit` natural units, so one natural unit is a strength of 1 / unit."""
    return tuple(
        SpaceEntry(
            index=k,
            unit=1 / file.about.unit if file.about else 1.0,
            measures=_measures(file),
        )
        for k, file in enumerate(files)
    )


def _measures(file: LoraFile) -> SliderMeasures | None:
    if file.about is None or file.about.measures is None:
        return None
    try:
        return SliderMeasures.model_validate(file.about.measures)
    except ValidationError as error:
        raise damaged(file.path) from error


def _directions(files: Sequence[LoraFile]) -> Directions | None:
    """The rows these sliders were trained for; None where one of them was not trained for any."""
    rows = [file.about.direction for file in files if file.about and file.about.direction]
    if len(rows) < len(files):
        return None
    try:
        return directions_of(rows)
    except ValueError as error:
        raise damaged(files[0].path) from error
