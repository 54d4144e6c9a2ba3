"""SliderSpace: what a discovery yields. Load it from its run folder, look at it, draw with it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sliderspace.core.arrays import Images
from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.core.settings import Settings, Speed, settings_from
from sliderspace.method.denoise import render
from sliderspace.method.directions import Directions
from sliderspace.method.sliders import SliderBank
from sliderspace.method.strengths import sparse_mix, sweep_rows
from sliderspace.models.backbones import Backbone, Condition, load_backbone
from sliderspace.storage.files import load_json, load_tensors, stored_fingerprint
from sliderspace.storage.images import to_uint8
from sliderspace.storage.run_folder import RunFolder


@dataclass(frozen=True)
class SliderSpace:
    """The sliders of one concept in one model.

    Strengths everywhere are natural units: 1.0 is one standard deviation of the model's own variation.
    """

    settings: Settings
    directions: Directions
    units_K: npt.NDArray[np.float64]
    values: dict[str, torch.Tensor]
    folder: Path
    speed: Speed = Speed()

    @classmethod
    def load(cls, folder: str | Path, speed: Speed | None = None) -> "SliderSpace":
        """Raises BadInput when the folder holds no finished space, DamagedFile when a file of it is broken."""
        run = RunFolder(folder)
        run.check_exists()
        for path in (run.config, run.directions, run.sliders, run.space):
            if not path.exists():
                raise BadInput(
                    f"{run.root} is not finished ({path.name} is missing): its run is still going, or was stopped.\n"
                    f"Wait for it, or go on with it: sliderspace discover --out {run.root}"
                )
        settings = settings_from(load_json(run.config, kind="config"))
        space, directions, values = (
            load_json(run.space, kind="space"),
            Directions.load(run.directions),
            load_tensors(run.sliders, kind="sliders")[0],
        )
        parts = {"config": run.config, "directions": run.directions, "sliders": run.sliders}
        if space.get("made_from") != {name: stored_fingerprint(path) for name, path in parts.items()}:
            raise BadInput(
                f"{run.root} is half-way to other settings: its parts do not belong together.\nRun `sliderspace "
                f"discover --out {run.root}`."
            )
        listed = space.get("sliders")
        units = np.array([entry.get("unit") for entry in listed] if isinstance(listed, list) else [], dtype=np.float64)
        if len(units) != settings.sliders or not np.isfinite(units).all():
            raise DamagedFile(
                f"{run.space} does not list {settings.sliders} sliders.\nDelete it and run `sliderspace train "
                f"{run.root}`."
            )
        return cls(settings, directions, units, values, run.root, speed or Speed())

    def __len__(self) -> int:
        return self.settings.sliders

    @cached_property
    def backbone(self) -> Backbone:
        """The model, loaded when first needed."""
        whole = self.settings.decoder == "auto"  # pictures for people come from the full decoder
        return backbone_for(
            self.settings.model_copy(update={"decoder": "full"}) if whole else self.settings, self.speed
        )

    @cached_property
    def bank(self) -> SliderBank:
        """The trained sliders on that model."""
        bank = bank_for(self.settings, self.backbone)
        bank.load_tensors(self.values)
        return bank

    def strengths(self, set_: Mapping[int, float] | Sequence[float] | npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Strengths [K] in natural units from {slider: strength} or a full row. BadInput for a slider that does not
        exist, or NaN."""
        row = np.zeros(len(self)) if isinstance(set_, Mapping) else np.asarray(set_, dtype=np.float64)
        if isinstance(set_, Mapping):
            for k, value in set_.items():  # pyright: ignore[reportUnknownVariableType]
                if not 0 <= int(k) < len(self):  # pyright: ignore[reportUnknownArgumentType]
                    raise BadInput(f"no slider {k}: this space has sliders 0 … {len(self) - 1}")
                row[k] = value
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
    ) -> Images:
        """Images uint8 [N, H, W, 3], one a seed. `strengths` is {slider: units}, a row [K], or a matrix [N, K]; none
        draws the base model.

        Raises BadInput for unknown sliders, an empty prompt, or a start step the sampler has not.
        """
        listed = list(seeds)
        rows = np.broadcast_to(self.strengths({} if strengths is None else strengths), (len(listed), len(self)))
        return self._draw(listed, torch.from_numpy(rows * self.units_K).float(), prompt, start_step)

    def sweep(
        self,
        slider: int,
        seeds: Iterable[int] = range(4),
        scales: Sequence[float] = (-3, -2, -1, 0, 1, 2, 3),
        *,
        prompt: str | None = None,
        start_step: int = 0,
    ) -> npt.NDArray[np.uint8]:
        """Images uint8 [S, M, H, W, 3] of one slider over scales in natural units, the same seeds in every column."""
        if not len(scales) or not np.isfinite(scales).all():
            raise BadInput("the scales of a sweep are finite numbers, for example -3,0,3")
        self.strengths({slider: 0.0})
        listed = list(seeds)
        row_seeds, rows_NK = sweep_rows(slider, scales, listed, len(self))
        images = self._draw(row_seeds, rows_NK * torch.from_numpy(self.units_K).float(), prompt, start_step)
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
    ) -> Images:
        """Images with a random sparse set of sliders each, as the paper's evaluation draws them; an image's set follows
        from its seed."""
        listed = list(seeds)
        rows_NK = sparse_mix(listed, len(self), active=active, scale=scale, seed=seed)
        return self._draw(listed, rows_NK * torch.from_numpy(self.units_K).float(), prompt, start_step)

    def condition(self, prompt: str | None) -> Condition:
        """The encoded prompt, or the space's own prompts when none is given."""
        return self.backbone.encode(self.settings.prompts if prompt is None else [prompt])

    def _draw(self, seeds: list[int], raw_NK: torch.Tensor, prompt: str | None, start_step: int) -> Images:
        if not seeds:
            raise BadInput("no seeds: give at least one, for example --seeds 0-15")
        if not all(0 <= s < 2**63 for s in seeds):
            raise BadInput(f"seeds are whole numbers from 0 to {2**63 - 1}")
        condition = self.condition(prompt)
        prompt_N = [s % len(condition) for s in seeds]
        batches = render(
            self.backbone, self.bank, condition, seeds, prompt_N, raw_NK, start_step=start_step, batch=self.speed.batch
        )
        return torch.cat([to_uint8(b) for b in batches]).numpy()

    def describe(self) -> dict[str, Any]:
        """What this space is, as plain data: the concept, the model, and one entry a slider."""
        s, d = self.settings, self.directions
        sliders = [
            {
                "index": k,
                "unit": float(self.units_K[k]),
                "explained_variance_ratio": float(d.explained_variance_ratio_K[k]),
            }
            for k in range(len(self))
        ]
        return {
            "prompts": list(s.prompts),
            "backbone": s.backbone,
            "encoder": d.encoder,
            "trajectories": d.trajectories,
            "step_share": d.step_share,
            "sliders": sliders,
        }


def backbone_for(settings: Settings, speed: Speed) -> Backbone:
    """The model of some settings, its weights loaded when first needed."""
    chosen = settings.model_dump(include={"steps", "guidance", "precision", "resolution", "decoder", "quantize"})
    return load_backbone(settings.backbone, device=speed.device, checkpointing=speed.checkpointing, **chosen)


def bank_for(settings: Settings, backbone: Backbone) -> SliderBank:
    """An untrained bank of the settings' shape on a model."""
    pattern = backbone.layers[settings.targets]
    return SliderBank(
        backbone.denoiser, settings.sliders, pattern=pattern, rank=settings.rank, up=settings.up, seed=settings.seed
    )
