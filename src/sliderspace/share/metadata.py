"""What an exported file says of its slider, as types: the metadata entry "sliderspace" (JSON).

It holds the slider's direction, so that files alone make a whole space.
"""

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.core.settings import Settings
from sliderspace.method.directions import Directions
from sliderspace.share.places import base_identity
from sliderspace.space.labels import Label
from sliderspace.storage.stamps import checksum
from sliderspace.storage.tensors import listed

KIND, NUMBER = "sliderspace-lora", 1  # of the metadata: files of every earlier number stay readable
ENTRY = "sliderspace"
CHECKSUM = "sliderspace.checksum"  # of that entry and of the values; the first files have none
Measure = bool | float | list[float | None] | None


class Direction(BaseModel):
    """What `Directions` knows of one row. `mean_T` is all of its mean that a coordinate along the row needs."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

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

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    format: str
    package: str
    space: str  # the same for all sliders of one space
    index: int | None  # none of a mix
    mix: dict[int, float] | None = None  # natural units of the sliders that it is made of
    name: str | None  # where it is sure
    label: Label | None = None  # all that is known of the name
    base_model: str
    base: str = ""  # its commit or the digest of its contents, as far as that is known without a network
    prompts: list[str]
    encoder: str
    explained_variance_ratio: float | None
    unit: Annotated[float, Field(gt=0)]
    rank: int
    targets: str
    component: str
    measures: dict[str, Measure] | None
    settings: dict[str, Any]  # read as `Settings` by whoever makes a space of the file
    direction: Direction | None  # of sliders that nothing discovered there is none, nor of a mix


def about(
    settings: Settings,
    directions: Directions | None,
    k: int | None,
    *,
    space: str,
    unit: float,
    component: str,
    label: Label,
    measures: dict[str, Measure] | None = None,
    mix: dict[int, float] | None = None,
) -> About:
    """What slider `k`'s file says, or that of a `mix` (then `k` is None). `settings` must hold no path of this machine
    (`places.shareable`)."""
    direction = None if directions is None or k is None else _row(directions, k)
    return About(
        format=f"{KIND}/{NUMBER}",
        package=package_version(),
        space=space,
        index=k,
        mix=mix,
        name=label.sure_name,
        label=label if label.name else None,
        base_model=settings.backbone,
        base=base_identity(settings.backbone),
        prompts=list(settings.prompts),
        encoder=direction.encoder if direction else "",
        explained_variance_ratio=direction.explained_variance_ratio if direction else None,
        unit=unit,
        rank=settings.rank * len(mix or [k]),
        targets=settings.targets,
        component=component,
        measures=measures,
        settings=settings.model_dump(mode="json"),
        direction=direction,
    )


def about_in(path: Path, metadata: dict[str, str]) -> About | None:
    """What the metadata of the file at `path` say; None for a file of other origin.

    Raises BadInput: of a newer version; DamagedFile: not as `about` made it.
    """
    stored: object = None
    with suppress(ValueError, RecursionError):
        stored = json.loads(metadata.get(ENTRY, "null"))
    values = cast("dict[str, Any]", stored) if isinstance(stored, dict) else {}
    kind, _, number = str(values.get("format")).partition("/")
    if kind != KIND or not number.isdecimal():
        return None
    if int(number) > NUMBER:
        raise BadInput(
            f"{path} was exported by a newer sliderspace ({str(values.get('package'))[:20]}): install that version."
        )
    try:
        return About.model_validate(values)
    except ValidationError as error:
        raise damaged(path) from error


def checksum_of(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Over what a file says of its slider and over its values. What other programs add to the metadata is theirs."""
    return checksum({ENTRY: metadata.get(ENTRY), "tensors": listed(tensors)})


def damaged(path: Path) -> DamagedFile:
    return DamagedFile(f"{path} is damaged or cut short: export or fetch it again.")


def _row(d: Directions, k: int) -> Direction:
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


def directions_of(rows: list[Direction]) -> Directions:
    """The directions of some sliders of one space, their rows bit for bit. Of the mean its coordinates along them are
    known, and needed: it is the shortest one that has them, for rows asked for in words are not orthogonal. Raises
    ValueError where the rows do not fit each other."""
    components_KD: Array = np.stack([np.frombuffer(base64.b64decode(row.vector), dtype="<f8") for row in rows])
    mean_KT = np.array([row.mean_T for row in rows])
    shared = rows[0].model_dump(
        include={"total_variance", "step_share", "centring", "encoder", "count", "trajectories"}
    )
    found = Directions(
        components_KD=components_KD.astype(np.float64),
        mean_TD=np.linalg.lstsq(components_KD, mean_KT, rcond=None)[0].T.astype(np.float64),
        explained_variance_K=np.array([row.explained_variance for row in rows]),
        explained_variance_ratio_K=np.array([row.explained_variance_ratio for row in rows]),
        sigma_TK=np.array([row.sigma_T for row in rows]).T,
        step_indices=tuple(rows[0].step_indices),
        **shared,
    )
    if not found._is_whole():
        raise ValueError("the directions do not fit each other")
    return found


def package_version() -> str:
    with suppress(PackageNotFoundError):
        return version("sliderspace")
    return "unknown"
