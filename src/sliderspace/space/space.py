"""SliderSpace: what a discovery yields. Load it from its run folder, look at it, draw with it."""

import math
import operator
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sliderspace.core.arrays import Images
from sliderspace.core.errors import BadInput, DamagedFile, SliderSpaceError
from sliderspace.core.settings import Settings, Speed
from sliderspace.measure.results import SpaceFile
from sliderspace.method.denoise import render
from sliderspace.method.directions import Directions
from sliderspace.method.sliders import SliderBank, check_fit, stored_values
from sliderspace.method.strengths import sparse_mix, sweep_rows
from sliderspace.models.backbones import Backbone, Condition, preset_for
from sliderspace.models.device import device_for
from sliderspace.models.load import backbone_at, empty_denoiser
from sliderspace.models.texts import stamp, stored
from sliderspace.models.working_point import WorkingPoint, point_for
from sliderspace.space.labels import Label, names_of
from sliderspace.storage.files import is_done, stored_fingerprint
from sliderspace.storage.images import to_uint8
from sliderspace.storage.run_folder import RunFolder
from sliderspace.storage.stamps import damaged
from sliderspace.storage.tensors import Replaced

ELSEWHERE = "local:"  # begins the name of what lies in a folder of another machine, whose path never leaves it


DRAWING = RLock()  # what sliders add is kept on a model's layers, and spaces share models: one thread draws at a time
if hasattr(os, "register_at_fork"):  # else a child gets a held lock, and layers in mid-picture
    os.register_at_fork(before=DRAWING.acquire, after_in_parent=DRAWING.release, after_in_child=DRAWING.release)


@dataclass(frozen=True, eq=False)
class SliderSpace:
    """The sliders of one concept in one model.

    Strengths everywhere are natural units: 1.0 is one standard deviation of the model's own variation. Threads may
    share a space: they draw one after another.
    """

    settings: Settings
    directions: Directions | None = field(repr=False)  # sliders made of other programs' files were trained for none
    units_K: npt.NDArray[np.float64] = field(repr=False)
    values: dict[str, torch.Tensor] = field(repr=False)
    folder: Path
    speed: Speed = Speed()
    made_from: str = field(default="", repr=False)  # what its sliders' file was made from: these, and no others

    @classmethod
    def load(cls, folder: str | Path, speed: Speed | None = None) -> "SliderSpace":
        """Raises BadInput when the folder holds no finished space, DamagedFile when a file of it is broken."""
        run = RunFolder(folder)
        run.check_exists()
        with suppress(SliderSpaceError):
            return cls._read(run, speed or Speed())
        return cls._read(run, speed or Speed())  # another space may have taken its place meanwhile

    @classmethod
    def _read(cls, run: RunFolder, speed: Speed) -> "SliderSpace":
        """What lies there now. Raises Replaced too, where another space took its place while it was read."""
        files = run.whole_space()
        if files is None:
            raise BadInput(
                f"{run.root} is not finished: its run is still going, or was stopped.\n"
                f"Wait for it, or go on with it: sliderspace discover --out {run.typed}"
            )
        space = SpaceFile.read(files["space"])
        settings = space.settings
        if len(space.sliders) != settings.sliders:
            raise DamagedFile(f"{run.space} does not list {settings.sliders} sliders.\n{space.mending(run.space)}")
        units = np.array([entry.unit for entry in space.sliders])
        directions = Directions.load(files["directions"]) if "directions" in files else None
        if directions and len(directions.components_KD) != settings.sliders:
            raise damaged(files["directions"], f"does not hold {settings.sliders} directions")
        values = stored_values(files["sliders"], settings.sliders)
        made_from = {"directions": space.made_from.directions, "sliders": space.made_from.sliders}
        if any(stored_fingerprint(files[name]) != made for name, made in made_from.items() if made):
            raise Replaced(f"{run.root} was given other sliders while it was read: load it again")
        return cls(settings, directions, units, values, run.root.absolute(), speed, space.made_from.sliders)

    def __len__(self) -> int:
        return self.settings.sliders

    @cached_property
    def point(self) -> WorkingPoint:
        """The model's working point; pictures for people come from its full decoder, as do all where the small one
        is in a folder of another machine. Raises BadInput where the model itself is."""
        if self.settings.backbone.startswith(ELSEWHERE):
            raise BadInput(
                f"the base model of these sliders is '{self.settings.backbone.removeprefix(ELSEWHERE)}', a folder of "
                f"another machine.\nSay where it lies here: give `import` or `pull` again with --backbone FOLDER."
            )
        s = self.settings
        if s.lora.startswith(ELSEWHERE):
            raise BadInput(
                f"these sliders were found on top of the LoRA '{s.lora.removeprefix(ELSEWHERE)}', a file of another "
                f"machine.\nSay where it lies here: give `import` or `pull` again with --lora FILE."
            )
        full = s.decoder == "auto" or s.decoder.startswith(ELSEWHERE)
        return point_for(
            s.backbone,
            device_for(self.speed.device),
            steps=s.steps,
            guidance=s.guidance,
            precision=s.precision,
            resolution=s.resolution,
            decoder="full" if full else s.decoder,
            quantize=s.quantize,
            lora=s.lora,
        )

    @cached_property
    def backbone(self) -> Backbone:
        """The model, loaded when first needed."""
        return backbone_at(self.point, device=device_for(self.speed.device), checkpointing=self.speed.checkpointing)

    def on(self, backbone: str) -> "SliderSpace":
        """The same sliders on another model of the same family, such as a distilled form of their own: at its usual
        steps and guidance, and at the raw strengths that are natural units on their own model.

        `backbone` is as in `Settings`. Raises BadInput, before any weights are fetched, where the model has other
        layers.
        """
        changed: dict[str, Any] = {"backbone": backbone, "steps": None, "guidance": None}
        if preset_for(backbone).other_weights:  # which no base in fewer bits takes
            changed["quantize"] = "none"
        other = replace(self, settings=self.settings.model_copy(update=changed))
        check_fit(self.values, empty_denoiser(other.point), other.point.preset.name)
        return other

    def beside(self, other: "SliderSpace") -> "SliderSpace":
        """This space on the model of another one, so that it is not loaded twice. Raises BadInput where the two are of
        different models."""
        if self.point.identity != other.point.identity:
            raise BadInput("two spaces share a model only where weights, sampler and precision are the same")
        vars(self)["backbone"] = other.backbone
        return self

    @cached_property
    def bank(self) -> SliderBank:
        """The trained sliders on that model."""
        return self.bank_on(self.backbone)

    def bank_on(self, backbone: Backbone) -> SliderBank:
        """The trained sliders on a model with the layers that their values have: their own, its teacher, a distilled
        form of it. Raises BadInput for a model without them."""
        check_fit(self.values, backbone.denoiser, backbone.name)
        rank_of = {name.removesuffix(".down"): v.shape[1] for name, v in self.values.items() if name.endswith(".down")}
        pattern = "|".join(map(re.escape, rank_of))
        bank = SliderBank(backbone.denoiser, len(self), pattern=pattern, rank=max(rank_of.values(), default=1))
        bank.load_tensors(self.values)
        return bank

    def strengths(self, set_: Mapping[int, float] | Sequence[float] | npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Strengths [K] in natural units from {slider: strength} or a full row. BadInput for a slider that does not
        exist, or NaN."""
        if isinstance(set_, Mapping):
            for k in set_:  # pyright: ignore[reportUnknownVariableType]
                if k not in range(len(self)):
                    raise BadInput(f"no slider {k!r}: this space has sliders 0 … {len(self) - 1}")
            set_ = [set_.get(k, 0.0) for k in range(len(self))]
        try:
            row = np.array(set_, dtype=np.float64, ndmin=1)
        except (TypeError, ValueError):
            row = np.array([np.nan])
        if row.shape[-1] != len(self) or not np.isfinite(row).all():
            raise BadInput(f"strengths must be {len(self)} finite numbers, one a slider")
        return row

    def generate(
        self,
        seeds: Iterable[int],
        strengths: Mapping[int, float] | npt.ArrayLike | None = None,
        *,
        prompt: str | None = None,
        start_step: int = 0,
        end_step: int | None = None,
    ) -> Images:
        """Images uint8 [N, H, W, 3], one a seed. `strengths` is {slider: units}, a row [K], or a matrix [N, K]; none
        draws the base model.

        Sliders act from sampler step `start_step` on and before `end_step`. Raises BadInput for unknown sliders,
        another number of rows than seeds, an empty prompt, or a step the sampler has not.
        """
        listed = _whole(seeds)
        asked = self.strengths({} if strengths is None else strengths)
        if asked.ndim > 1 and asked.shape[:-1] not in ((1,), (len(listed),)):
            raise BadInput(f"strengths of shape {asked.shape} are not one row, or one for each of {len(listed)} seeds")
        rows = np.broadcast_to(asked, (len(listed), len(self)))
        return self._draw(listed, torch.from_numpy(rows * self.units_K).float(), prompt, start_step, end_step)

    def sweep(
        self,
        slider: int,
        seeds: Iterable[int] = range(4),
        scales: Sequence[float] = (-3, -2, -1, 0, 1, 2, 3),
        *,
        prompt: str | None = None,
        start_step: int = 0,
        end_step: int | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Images uint8 [S, M, H, W, 3] of one slider over scales in natural units, the same seeds in every column."""
        if not len(scales) or not np.isfinite(scales).all():
            raise BadInput("the scales of a sweep are finite numbers, for example -3,0,3")
        self.strengths({slider: 0.0})
        listed = _whole(seeds)
        row_seeds, rows_NK = sweep_rows(slider, scales, listed, len(self))
        images = self._draw(row_seeds, rows_NK * torch.from_numpy(self.units_K).float(), prompt, start_step, end_step)
        return images.reshape(len(listed), len(scales), *images.shape[1:])

    def mix(
        self,
        seeds: Iterable[int],
        *,
        active: int = 3,
        scale: float = 1.0,
        seed: int = 0,
        prompt: str | None = None,
        start_step: int = 0,
        end_step: int | None = None,
    ) -> Images:
        """Images with a random sparse set of sliders each, as the paper's evaluation draws them; an image's set follows
        from its seed. Raises BadInput as `generate`, and for a scale that is not finite."""
        if not math.isfinite(scale):
            raise BadInput("the scale of a mix is a finite number, for example 1")
        listed = _whole(seeds)
        rows_NK = sparse_mix(listed, len(self), active=active, scale=scale, seed=seed)
        return self._draw(listed, rows_NK * torch.from_numpy(self.units_K).float(), prompt, start_step, end_step)

    @cached_property
    def _own(self) -> Condition:
        """The space's own prompts: those its run has encoded already where they are of the same model."""
        texts = RunFolder(self.folder).texts
        found = texts if is_done(texts, stamp(self.point.text_identity, self.settings.prompts)) else None
        return stored(found, self.backbone.device) if found else self.backbone.encode(self.settings.prompts)

    @cached_property
    def _encoded(self) -> dict[str, Condition]:
        return {}

    def condition(self, prompt: str | None) -> Condition:
        """The encoded prompt, or the space's own prompts when none is given. The last one is kept: a text encoder may
        have to be loaded for it."""
        if prompt is None:
            return self._own
        if prompt not in self._encoded:
            self._encoded.clear()
            self._encoded[prompt] = self.backbone.encode([prompt])
        return self._encoded[prompt]

    def _draw(
        self, seeds: list[int], raw_NK: torch.Tensor, prompt: str | None, start_step: int, end_step: int | None
    ) -> Images:
        if not seeds:
            raise BadInput("no seeds: give at least one, for example --seeds 0-15")
        with DRAWING:
            condition = self.condition(prompt)
            prompt_N = [s % len(condition) for s in seeds]
            about = (self.backbone, self.bank, condition, seeds, prompt_N, raw_NK)
            batches = render(*about, start_step=start_step, end_step=end_step, batch=self.speed.batch)
            return torch.cat([to_uint8(b) for b in batches]).numpy()

    @property
    def labels(self) -> tuple[Label, ...]:
        """The sliders' names as they are in the run folder now; empty ones where there are none, or other sliders."""
        return names_of(RunFolder(self.folder), self.made_from, len(self)).sliders

    def describe(self) -> dict[str, Any]:
        """What this space is, as plain data: the concept, the model, and one entry a slider."""
        s, d = self.settings, self.directions
        sliders = [
            {
                "index": k,
                "name": label.shown,
                "unit": float(self.units_K[k]),
                "explained_variance_ratio": float(d.explained_variance_ratio_K[k]) if d else None,
            }
            for k, label in enumerate(self.labels)
        ]
        return {
            "prompts": list(s.prompts),
            "backbone": s.backbone,
            "encoder": d.encoder if d else None,
            "trajectories": d.trajectories if d else None,
            "step_share": d.step_share if d else None,
            "sliders": sliders,
        }


def _whole(seeds: Iterable[int]) -> list[int]:
    """Seeds of any integer type as Python's own. BadInput for anything else."""
    try:
        listed = [operator.index(seed) for seed in seeds]
    except TypeError:
        listed = [-1]
    if not all(0 <= seed < 2**63 for seed in listed):
        raise BadInput(f"seeds are whole numbers from 0 to {2**63 - 1}")
    return listed
