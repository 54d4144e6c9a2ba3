"""A discovery in stages over a run folder, in this process. Each stage is skipped when what it would make is there
already.

Every stage is a generator of `Progress`; whoever calls it draws the bars.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sliderspace.concepts.pictures import Pictures, read_folder
from sliderspace.core.errors import BadInput
from sliderspace.core.seeds import seed_for
from sliderspace.core.settings import Measuring, Settings, Speed, settings_from
from sliderspace.engine import fingerprints
from sliderspace.measure.factors import factor_table
from sliderspace.measure.results import MadeFrom, Measures, SpaceEntry, SpaceFile
from sliderspace.measure.summary import measures
from sliderspace.measure.views import View, judges_view, training_view
from sliderspace.method import calibration, trajectories
from sliderspace.method.baselines.axes import chosen_images, control_axes
from sliderspace.method.baselines.customisation import Customisation
from sliderspace.method.calibration import GRID, natural_unit
from sliderspace.method.denoise import render
from sliderspace.method.directions import Directions
from sliderspace.method.moments import Moments
from sliderspace.method.objective import Objective, Recipe
from sliderspace.method.sliders import SliderBank
from sliderspace.method.sweeps import Seen, Sweep, joined, judged, sweeps
from sliderspace.method.training import train
from sliderspace.models.backbones import Backbone, Condition, device_for, preset_for
from sliderspace.models.backbones.load import precision_for
from sliderspace.models.encoders import Encoder, find_encoder, load_encoder
from sliderspace.models.sources import identity_of
from sliderspace.space.space import backbone_for, bank_for
from sliderspace.storage.files import fingerprint, is_done, load_json, load_tensors, save_json, save_tensors
from sliderspace.storage.images import thumbnails, to_uint8
from sliderspace.storage.run_folder import RunFolder

CALIBRATION_SEEDS = 6
MEASURE_SEEDS = 16
SHOWN_SEEDS = 4
BASE_IMAGES = 32
SIZES = Measuring().sizes


@dataclass(frozen=True)
class Progress:
    """`done` of `total` in a stage; `note` says what a reader would want to know now."""

    stage: str
    done: int
    total: int
    note: str = ""


class Engine:
    """The stages of one discovery. The model and the encoder are loaded when a stage first needs them."""

    def __init__(self, settings: Settings, speed: Speed, run: RunFolder) -> None:
        self.settings, self.speed, self.run = settings, speed, run

    # What the run is made of

    @cached_property
    def device(self) -> torch.device:
        return device_for(self.speed.device)

    @cached_property
    def backbone(self) -> Backbone:
        return backbone_for(self.settings, self.speed)

    @cached_property
    def encoder(self) -> Encoder:
        location = self.settings.encoder or preset_for(self.settings.backbone).encoder
        return self.encoder_at(location, precision_for(self.device, self.settings.precision))

    @cached_property
    def judge(self) -> Encoder | None:
        """An encoder that trained nothing, where the model's preset has one."""
        location = preset_for(self.settings.backbone).judge
        return self.encoder_at(location) if location else None

    def encoder_at(self, location: str, dtype: torch.dtype = torch.float32) -> Encoder:
        """The encoder of a name, repository or folder, on this run's device. Raises BadInput when there is none."""
        folder = find_encoder(location)
        return load_encoder(folder, identity=identity_of(folder), device=self.device, dtype=dtype)

    @cached_property
    def condition(self) -> Condition:
        return self._encoded(self.run.texts, self.settings.prompts)

    def _encoded(self, path: Path, prompts: Sequence[str]) -> Condition:
        """The condition of some prompts, kept in the run folder: text encoders are often the largest part of a
        model."""
        made_from = fingerprint(stage="texts", model=self.backbone.identity, prompts=prompts)
        if not is_done(path, made_from):
            found = self.backbone.encode(prompts)
            both = {"texts": found.texts, "empty": found.empty}
            tensors = {f"{part}/{name}": t.clone() for part, named in both.items() for name, t in named.items()}
            save_tensors(path, tensors, kind="texts", fingerprint=made_from)
        stored = load_tensors(path, kind="texts")[0]
        texts, empty = (
            {n.removeprefix(f"{part}/"): t for n, t in stored.items() if n.startswith(part)}
            for part in ("texts", "empty")
        )
        return Condition(texts, {name: t.to(self.device) for name, t in empty.items()})

    @cached_property
    def pictures(self) -> Pictures | None:
        """A person's own pictures to discover in, where a folder of them is given."""
        s = self.settings
        return read_folder(s.images, self.backbone.image_size) if s.images else None

    @cached_property
    def shown(self) -> Condition:
        """The prompts that the stored trajectories show: the concept's, or the captions beside a person's pictures."""
        captions = self.pictures.captions if self.pictures else ()
        if not any(captions):
            return self.condition if self.pictures is None else self.condition.rows([0])
        return self._encoded(self.run.captions, [text or self.settings.prompts[0] for text in captions])

    @cached_property
    def embed_T(self) -> tuple[int, ...]:
        return trajectories.embedded_steps(self.settings.embed, self.backbone.steps)

    @cached_property
    def bank(self) -> SliderBank:
        return bank_for(self.settings, self.backbone)

    # Fingerprints: each stage's holds everything that stage and the ones before it depend on

    @cached_property
    def drawn(self) -> str:
        """What every trajectory is made from; how many there are changes none of them."""
        s = self.settings
        return fingerprint(
            stage="sample",
            model=self.backbone.identity,
            encoder=self.encoder.identity,
            prompts=s.prompts,
            seed=s.seed,
            embed=self.embed_T,
            **({"pictures": self.pictures.fingerprint} if self.pictures else {}),
        )

    @cached_property
    def sampled(self) -> str:
        return fingerprints.sampled(self.settings, self.drawn)

    @cached_property
    def fitted(self) -> str:
        return fingerprints.fitted(self.settings, self.sampled)

    @cached_property
    def trained(self) -> str:
        return fingerprints.trained(self.settings, self.fitted)

    @cached_property
    def measured(self) -> str:
        seeds, sizes = [CALIBRATION_SEEDS, MEASURE_SEEDS], [*GRID, *SIZES]
        judge = {"judge": self.judge.identity} if self.judge else {}
        return fingerprint(stage="measure", after=self.trained, seeds=seeds, sizes=sizes, **judge)

    # Stages

    def write_config(self) -> list[str]:
        """Store the settings; returns what differs from those stored before, as lines to show.

        The model, the encoder and the prompts are tried first, so that a typing error never replaces good settings.
        """
        _ = self.sampled, self.condition
        before = load_json(self.run.config, kind="config") if self.run.config.exists() else {}
        now = self.settings.model_dump(mode="json")
        save_json(self.run.config, now, kind="config", fingerprint=self.trained)
        return [f"{key}: {before[key]} → {now[key]}" for key in now if key in before and before[key] != now[key]]

    def sample(self) -> Iterator[Progress]:
        """trajectories/"""
        s, total = self.settings, self.settings.samples + self.settings.held_out
        yield Progress("sample", 0, total)
        about = (self.backbone, self.encoder, self.shown)
        draw = (
            trajectories.from_pictures(*about, self.pictures, s.seed, self.embed_T)
            if self.pictures
            else trajectories.from_prompts(*about, s.seed, self.embed_T)
        )
        folder, batch = self.run.trajectories, self.speed.batch
        for done in trajectories.sample(
            draw, folder, count=total, embed_T=self.embed_T, batch=batch, fingerprint=self.drawn
        ):
            yield Progress("sample", done, total)

    def fit(self) -> Iterator[Progress]:
        """directions.safetensors"""
        yield Progress("fit", 0, 1)
        if not is_done(self.run.directions, self.fitted):
            data = self.seen
            steps, dim = data.z_NTD.shape[1:]
            step_N = np.tile(np.arange(steps), len(data))
            z_ND = data.z_NTD.flatten(0, 1).double().numpy()
            moments = Moments(steps, dim).update(z_ND, step_N)
            found = moments.fit(
                self.settings.sliders,
                trajectories=len(data),
                centring=self.settings.centring,
                encoder=self.encoder.identity,
                step_indices=self.embed_T,
            )
            if self.settings.rotation == "varimax":
                found = found.rotated(z_ND, step_N)
            if self.settings.control != "none":
                last_ND, mean_D = data.z_NTD[:, -1].double().numpy(), found.mean_TD[-1]
                axes_KD = control_axes(
                    self.settings.control, self.settings.seed, last_ND, mean_D, self.settings.sliders
                )
                found = found.along(axes_KD, z_ND, step_N)
            found.save(self.run.directions, self.fitted)
        d = self.directions
        held = f"{len(d.components_KD)} directions hold {d.explained_variance_ratio_K.sum():.0%} of the variance"
        yield Progress(
            "fit",
            1,
            1,
            f"{held}; {d.step_share:.1%} is only the step, at most {d.step_share_K.max():.0%} of one direction",
        )

    def train(self) -> Iterator[Progress]:
        """sliders.safetensors"""
        total = self.settings.updates
        yield Progress("train", 0, total)
        if is_done(self.run.sliders, self.trained):
            yield Progress("train", total, total)
            return
        s = self.settings
        recipe = Recipe(**s.model_dump(include=fingerprints.TRAINED - fingerprints.SHAPED), lanes=self.speed.lanes)
        about = (self.backbone, self.encoder, self.shown, self.bank, self.directions, recipe)
        objective = Objective(*about)
        if s.objective == "customised":
            objective = Customisation(*about).of(self.seen, chosen_images(s.seed, len(self.seen), s.sliders))
        history: list[list[float]] = []
        note = ""
        for update in train(
            objective,
            self.seen,
            self.unseen,
            seed=s.seed,
            checkpoint=self.run.sliders_partial,
            fingerprint=self.trained,
        ):
            if update.held_out is not None:
                history.append([update.index + 1, update.held_out])
                note = f"held-out alignment {update.held_out:.3f}"
            yield Progress("train", update.index + 1, total, note)
        save_tensors(self.run.sliders, self.bank.tensors(), kind="sliders", fingerprint=self.trained, history=history)
        self.run.sliders_partial.unlink(missing_ok=True)

    def measure(self) -> Iterator[Progress]:
        """space.json, measures.json and the strips the report shows"""
        total = 2 * len(self.bank)
        yield Progress("measure", 0, total)
        if all(is_done(path, self.measured) for path in (self.run.space, self.run.measures, self.run.strips)):
            yield Progress("measure", total, total)
            return
        self.load_sliders()
        units, reached = [0.0] * len(self.bank), [False] * len(self.bank)
        for sweep in self.sweeps("calibration", CALIBRATION_SEEDS, np.tile(GRID, (len(self.bank), 1))):
            k, along_SM = sweep.slider, sweep.change_SMD @ self.directions.components_KD[sweep.slider]
            units[k], reached[k] = natural_unit(along_SM, GRID, float(self.directions.sigma_TK[-1, k]))
            yield Progress("measure", k + 1, total, "natural units")
        found: list[Sweep] = []
        for sweep in self.sweeps("measure", MEASURE_SEEDS, np.outer(units, SIZES), self.judge, keep=SHOWN_SEEDS):
            found.append(sweep)
            yield Progress("measure", len(self.bank) + sweep.slider + 1, total, "held-out seeds")
        trained, judged = self.views(found, self.judge)
        factors = factor_table(found, self.judge.classes, SIZES) if self.judge else None
        self._save_measured(measures(trained, judged, self.directions, np.array(units), reached, factors), found)

    def load_sliders(self) -> None:
        """Put the trained values into the bank. Raises BadInput when there are none of these settings."""
        self.need(self.run.sliders, self.trained, "train")
        self.bank.load_tensors(load_tensors(self.run.sliders, kind="sliders")[0])

    def views(self, found: Sequence[Sweep], judge: Encoder | None) -> tuple[View, View | None]:
        """What the encoder and the judge see in sweeps, beside the finished images of the trajectories."""
        manifold_ND, fresh_ND = (data.z_NTD[:, -1].double().numpy() for data in (self.seen, self.unseen))
        trained = training_view(found, SIZES, manifold_ND, fresh_ND, self.directions)
        if judge is None:
            return trained, None
        manifold_NE, fresh_NE = (self.judged(data, judge)["judge"].numpy() for data in (self.seen, self.unseen))
        return trained, judges_view(found, trained, judge.identity, manifold_NE, fresh_NE)

    def judged(self, data: trajectories.Trajectories, judge: Encoder) -> Seen:
        """What the judge sees in the finished images of stored trajectories."""
        images = trajectories.finished(self.backbone, self.shown, data, self.speed.batch)
        return joined([judged(batch, judge) for batch in images])

    def _save_measured(self, result: Measures, found: list[Sweep]) -> None:
        shown = np.stack([thumbnails(s.images_SMHWC) for s in found])
        save_tensors(
            self.run.strips,
            {"sliders": shown, "base": thumbnails(self.base_images())},
            kind="strips",
            fingerprint=self.measured,
        )
        result.write(self.run.measures, self.measured)
        made_from = MadeFrom(config=self.trained, directions=self.fitted, sliders=self.trained)
        entries = tuple(SpaceEntry.model_validate({"index": s.index, "unit": s.unit}) for s in result.sliders)
        SpaceFile(made_from=made_from, settings=self.settings, sliders=entries).write(self.run.space, self.measured)

    def base_images(self) -> "np.ndarray[Any, np.dtype[np.uint8]]":
        """The first finished images of the model alone, uint8 [N, H, W, 3], on the seeds 0 … 31."""
        seeds = list(range(BASE_IMAGES))
        prompt_N = [s % len(self.settings.prompts) for s in seeds]
        return torch.cat(
            [to_uint8(b) for b in render(self.backbone, None, self.condition, seeds, prompt_N, batch=self.speed.batch)]
        ).numpy()

    def stages(self) -> Iterator[Progress]:
        """The whole discovery."""
        for stage in (self.sample, self.fit, self.train, self.measure):
            yield from stage()

    # Data between stages

    @cached_property
    def _all(self) -> trajectories.Trajectories:
        return trajectories.load(self.run.trajectories, self.settings.samples + self.settings.held_out, self.drawn)

    @property
    def seen(self) -> trajectories.Trajectories:
        """What PCA and training use."""
        return self._all.part(0, self.settings.samples)

    @property
    def unseen(self) -> trajectories.Trajectories:
        """What they never see."""
        return self._all.part(self.settings.samples, len(self._all))

    @cached_property
    def directions(self) -> Directions:
        self.need(self.run.directions, self.fitted, "fit")
        return Directions.load(self.run.directions)

    def need(self, path: Path, made_from: str, stage: str) -> None:
        """BadInput unless an earlier stage has left its result of these very settings."""
        if not is_done(path, made_from):
            raise BadInput(
                f"{path} is missing, or was made with other settings.\nRun `sliderspace {stage} {self.run.root}` first."
            )

    def seeds(self, purpose: str, count: int) -> list[int]:
        return [seed_for(self.settings.seed, purpose, i) for i in range(count)]

    def sweeps(
        self, purpose: str, count: int, sizes_KM: calibration.Array, judge: Encoder | None = None, keep: int = 0
    ) -> Iterator[Sweep]:
        """Slider by slider, sweeps at raw strengths ±`sizes_KM[k]` on `count` seeds of their own."""
        about = (self.backbone, self.encoder, self.bank, self.condition, self.seeds(purpose, count), sizes_KM)
        return sweeps(*about, batch=self.speed.batch, keep=keep, judge=judge)


def stored_settings(run: RunFolder, **changed: Any) -> Settings:
    """The settings of a run folder with some replaced (None: as stored). Raises BadInput when there are none, or a
    change is unusable."""
    run.check_exists()
    return settings_from(
        {**load_json(run.config, kind="config"), **{k: v for k, v in changed.items() if v is not None}}
    )
