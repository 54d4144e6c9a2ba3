"""Exported LoRA files as a space again: what `formats` wrote, in either format, read back.

The files alone are enough: each holds its slider, its direction and the settings of the discovery.
"""

import base64
import hashlib
import itertools
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.core.settings import Settings, settings_from
from sliderspace.measure.results import MadeFrom, SpaceEntry, SpaceFile
from sliderspace.method.directions import Directions
from sliderspace.share.export import ENTRY, KIND, NUMBER, About
from sliderspace.share.lora_names import keys_for
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import fingerprint, save_json, save_tensors, stored_fingerprint
from sliderspace.storage.run_folder import RunFolder


@dataclass(frozen=True)
class LoraFile:
    """One exported slider as it lies on disk: `down` [r, in] and `up` [out, r] by layer path, and what the metadata
    says."""

    path: Path
    about: About
    down: dict[str, Tensor]
    up: dict[str, Tensor]
    digest: str

    @property
    def shapes(self) -> dict[str, tuple[torch.Size, torch.Size]]:
        return {layer: (self.down[layer].shape, self.up[layer].shape) for layer in self.down}


def load_file(path: str | Path) -> LoraFile:
    """Read a file that `export` wrote, in either format.

    Raises BadInput: missing, foreign, or of a newer version; DamagedFile: broken.
    """
    path = Path(path)
    metadata, tensors, digest = _read(path)
    about = _about_in(path, metadata)
    keys = {layer: keys_for(layer, about.component, about.layout) for layer in about.layers}
    try:
        down, up = ({layer: tensors[getattr(k, end)].float() for layer, k in keys.items()} for end in ("down", "up"))
    except KeyError as error:
        raise _damaged(path) from error
    return LoraFile(path, about, down, up, digest)


def _damaged(path: Path) -> DamagedFile:
    return DamagedFile(f"{path} is damaged or cut short: export or fetch it again.")


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor], str]:
    from safetensors.torch import load

    try:
        data = path.read_bytes()
        with cast("Any", safe_open)(path, framework="np") as file:
            metadata = file.metadata() or {}
        return metadata, load(data), hashlib.blake2b(data, digest_size=10).hexdigest()
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}.") from error
    except (SafetensorError, ValueError) as error:
        raise _damaged(path) from error


def _about_in(path: Path, metadata: dict[str, str]) -> About:
    about: object = None
    with suppress(ValueError, RecursionError):
        about = json.loads(metadata.get(ENTRY, "null"))
    about = cast("dict[str, Any]", about) if isinstance(about, dict) else {}
    kind, _, number = str(about.get("format")).partition("/")
    if kind != KIND or not number.isdecimal():
        raise BadInput(
            f"{path} is not a slider that sliderspace exported: LoRA files of other origin cannot be imported."
        )
    if int(number) > NUMBER:
        raise BadInput(
            f"{path} was exported by a newer sliderspace ({str(about.get('package'))[:20]}): install that version."
        )
    try:
        return About.model_validate(about)
    except ValidationError as error:
        raise _damaged(path) from error


def load_folder(folder: str | Path) -> list[LoraFile]:
    """The exported sliders of one space that lie in `folder`, by their number there. Raises BadInput when they do not
    belong together."""
    paths = sorted(Path(folder).glob("*.safetensors"))
    if not paths:
        raise BadInput(f"no .safetensors file in {folder}: give a folder that `sliderspace export` wrote.")
    files = sorted(map(load_file, paths), key=lambda file: file.about.index)
    for one, next_ in itertools.pairwise(files):
        if one.about.space != next_.about.space or one.shapes != next_.shapes:
            raise BadInput(
                f"{one.path.name} and {next_.path.name} are sliders of different spaces: give each space a folder "
                f"of its own."
            )
        if one.about.index == next_.about.index:
            raise BadInput(f"{one.path.name} and {next_.path.name} are the same slider: keep one of them in {folder}.")
    return files


def import_space(source: str | Path, folder: str | Path, *, backbone: str | None = None) -> SliderSpace:
    """Make `folder` the run folder of the exported sliders in `source`: a space that loads, draws and exports like any
    other.

    Sliders are numbered anew from 0, in their old order. `backbone` names the base model where it lies elsewhere on
    this machine. Raises BadInput: files that do not belong together, or a `folder` that holds another run or other
    files.
    """
    files = load_folder(source)
    settings, directions = _settings(files, backbone), _directions(files)
    made = fingerprint(imported=[file.digest for file in files], backbone=settings.backbone)
    run = RunFolder(folder)
    if run.config.exists() and stored_fingerprint(run.config) != made:
        raise BadInput(f"{run.root} already holds another run.\nChoose a new folder; nothing was changed.")
    with run.open_for_writing():
        save_json(run.config, settings.model_dump(mode="json"), kind="config", fingerprint=made)
        directions.save(run.directions, made)
        save_tensors(run.sliders, _values(files), kind="sliders", fingerprint=made, history=[])
        made_from = MadeFrom(config=made, directions=made, sliders=made)
        SpaceFile(made_from=made_from, settings=settings, sliders=_entries(files)).write(run.space, made)
    return SliderSpace.load(folder)


def _settings(files: list[LoraFile], backbone: str | None) -> Settings:
    """Those of the discovery; keys that later versions dropped are left out."""
    known = {key: value for key, value in files[0].about.settings.items() if key in Settings.model_fields}
    return settings_from({**known, "sliders": len(files), **({"backbone": backbone} if backbone else {})})


def _values(files: list[LoraFile]) -> dict[str, Tensor]:
    """The bank's flat names -> [K, ...]."""
    ends = {"down": [file.down for file in files], "up": [file.up for file in files]}
    return {
        f"{layer}.{end}": torch.stack([part[layer] for part in parts])
        for layer in files[0].down
        for end, parts in ends.items()
    }


def _entries(files: list[LoraFile]) -> tuple[SpaceEntry, ...]:
    """In a file strength 1.0 is `unit` natural units, so one natural unit is a strength of 1 / unit."""
    about = [file.about for file in files]
    return tuple(SpaceEntry(index=k, name=a.name, unit=1 / a.unit, measures=a.measures) for k, a in enumerate(about))


def _directions(files: list[LoraFile]) -> Directions:
    """The rows these sliders were trained for, bit for bit; of the mean only what lies in their span is known, and
    needed."""
    rows = [file.about.direction for file in files]
    try:
        components_KD = np.stack([np.frombuffer(base64.b64decode(row.vector), dtype="<f8") for row in rows]).astype(
            np.float64
        )
        mean_KT, sigma_KT = np.array([row.mean_T for row in rows]), np.array([row.sigma_T for row in rows])
        mean_TD = mean_KT.T @ components_KD
    except ValueError as error:
        raise _damaged(files[0].path) from error
    shared = rows[0].model_dump(
        include={"total_variance", "step_share", "centring", "encoder", "count", "trajectories"}
    )
    found = Directions(
        components_KD=components_KD,
        mean_TD=mean_TD,
        explained_variance_K=np.array([row.explained_variance for row in rows]),
        explained_variance_ratio_K=np.array([row.explained_variance_ratio for row in rows]),
        sigma_TK=sigma_KT.T,
        step_indices=tuple(rows[0].step_indices),
        **shared,
    )
    if not found._is_whole():
        raise _damaged(files[0].path)
    return found
