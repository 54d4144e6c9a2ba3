"""A finished space -> all that can be measured of it, with intervals, written to `evaluation.json` of its folder.

A discovery measures enough to say which sliders work. Here are more seeds and 95 % intervals, a judge beside the
training encoder, each sampler step by itself, what sliders do to each other, and, where a judge can name factors, how
the sliders compare with controls. Each slider is a task that leaves a file, so that an interrupted evaluation goes on
where it was.
"""

import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sliderspace.core.arrays import Array
from sliderspace.core.batches import in_batches
from sliderspace.core.errors import BadInput
from sliderspace.core.seeds import generator_for
from sliderspace.engine import protocols, stages
from sliderspace.engine.fingerprints import stamp
from sliderspace.engine.models import Models
from sliderspace.engine.progress import Progress
from sliderspace.engine.seen import observability, views
from sliderspace.measure import control, factors, results
from sliderspace.measure.factors import factor_table
from sliderspace.measure.protocols.records import Protocols
from sliderspace.measure.records import as_table
from sliderspace.measure.results import ByStep, Control, EvaluatedFactors, Measures, SideEffects
from sliderspace.measure.summary import with_intervals
from sliderspace.measure.views import View, moved
from sliderspace.method.objective import Lanes, Objective, Recipe
from sliderspace.method.sweeps import FACTOR, Seen, Sweep
from sliderspace.models.encoders import Encoder
from sliderspace.storage.files import is_done, load_tensors, save_tensors, stored_fingerprint

ACTIVE = 3  # sliders on at once, as in the paper's evaluation
STEP_TRAJECTORIES = 16
SIDE_SEEDS = 8
PURPOSE = "evaluate"  # names the seeds, which are used for nothing else


class Evaluation:
    """One evaluation of a finished space, on `seeds` seeds of its own. `judge` replaces the preset's where it is
    given. Raises BadInput where it is the training encoder: in its own eye all is well."""

    def __init__(self, models: Models, seeds: int, judge: Encoder | None = None) -> None:
        self.models = models
        self.count = models.settings.sliders
        self.composed = [active for active in protocols.COMPOSED if active <= self.count]
        self.judge = judge or models.judge
        if judge and judge.identity == models.point.encoder_identity:
            raise BadInput("the judge has to be another encoder than the one that these sliders were trained by")
        self.seeds = models.seeds(PURPOSE, seeds)
        self.sizes = models.measuring.sizes
        self.viewer = models.viewer(self.judge)
        self.folder = models.run.unfinished.root / "evaluation"
        by = self.judge.identity if self.judge else ""
        self.fingerprint = stamp("evaluate", after=models.prints.measured, seeds=seeds, judge=by)

    @cached_property
    def unit_K(self) -> Array:
        """Raw strengths of one natural unit, as the space was measured with."""
        path = self.models.need(self.models.run.measures, self.models.prints.measured, "measure")
        return np.array([slider.unit for slider in Measures.read(path).sliders])

    def __call__(self) -> Iterator[Progress]:
        total = self.count + len(self.models.shards) * bool(self.judge) + len(self.composed) + 1
        if is_done(self.models.run.evaluation, self.fingerprint):
            yield Progress("evaluate", total, total)
            return
        for done, _ in enumerate(self._tasks(), start=1):
            yield Progress("evaluate", done, total - 1)
        yield Progress("evaluate", total - 1, total, "intervals")
        path = self.models.run.evaluation
        self.gathered().write(path, self.fingerprint)
        shutil.rmtree(self.folder)
        yield Progress("evaluate", total, total)

    def _tasks(self) -> Iterator[None]:
        _ = self.unit_K
        self.folder.mkdir(parents=True, exist_ok=True)
        for j in range(len(self.models.shards) if self.judge else 0):
            self.judge_shard(j)
            yield
        for k in range(self.count):
            self.evaluate_slider(k)
            yield
        for active in self.composed:
            self.evaluate_mixes(active)
            yield

    # ---- tasks

    def judge_shard(self, index: int) -> None:
        """What the judge sees in the finished images of one shard of trajectories."""
        path, made_from = self._file(f"judged-{index:06d}")
        if self.judge is None or is_done(path, made_from):
            return
        shard = self.models.shards[index]
        found = stages.judged(self.models, shard.first, shard.last, self.judge)
        save_tensors(path, found, kind="judged", fingerprint=made_from)

    def evaluate_slider(self, slider: int) -> None:
        """One slider: its sweep, each step by itself, and what is left of its move while others are on."""
        path, made_from = self._file(f"{slider:03d}")
        if is_done(path, made_from):
            return
        sizes = [float(self.unit_K[slider]) * size for size in self.sizes]
        found = self.viewer.sweep(slider, self.seeds, sizes, self._base())
        meta = {"by_step": self._by_step(slider), "side_effects": self._side_effects(slider, found)}
        save_tensors(path, found.tensors(), kind="sweep", fingerprint=made_from, **meta)

    def evaluate_mixes(self, active: int) -> None:
        """Random sets of sliders on together, for composition success."""
        path, made_from = self._file(f"mixes-{active}")
        if is_done(path, made_from):
            return
        chosen_SRA = protocols.random_mixes(self.models, active, len(self.seeds))
        found = protocols.mixed(self.viewer, chosen_SRA, self.unit_K, self.seeds)
        save_tensors(path, found, kind="mixes", fingerprint=made_from)

    def _base(self) -> Seen:
        """The model alone on the seeds, drawn once."""
        path, made_from = self._file("base")
        if not is_done(path, made_from):
            save_tensors(path, self.viewer.base(self.seeds), kind="base", fingerprint=made_from)
        return load_tensors(path, kind="base")[0]

    def _by_step(self, slider: int) -> dict[str, list[float]]:
        """Preview alignment and consistency [T] at one unit, on held-out trajectories: where along the way a slider
        does its work."""
        models, v_D = self.models, self.models.directions.components_KD[slider]
        data = models.unseen.part(0, min(STEP_TRAJECTORIES, len(models.unseen)))
        about = (models.backbone, models.encoder, models.shown, models.trained_bank, models.directions)
        objective = Objective(*about, Recipe(updates=1, lr=0.0))
        found: dict[str, list[float]] = {"alignment": [], "consistency": []}

        def moved_by(strength: float, step: int) -> torch.Tensor:
            def work(part: range) -> torch.Tensor:
                return objective.delta(data, _lanes(slider, step, part, strength))

            return torch.cat([delta_BD for _, delta_BD in in_batches(0, len(data), models.lanes, work)])

        for t in range(len(data.steps_T)):
            with torch.no_grad():
                up, down = (moved_by(sign * self.unit_K[slider], t) for sign in (1.0, -1.0))
            delta_SD = torch.cat([up, -down]).cpu().double().numpy()
            found["alignment"].append(float(control.alignment(delta_SD, v_D)))
            found["consistency"].append(float(control.consistency(delta_SD)))
        return found

    def _side_effects(self, slider: int, found: Sweep) -> dict[str, float]:
        """The share of a slider's own move that is left while others are on, and whether moves add up."""
        count, active = min(SIDE_SEEDS, len(self.seeds)), min(ACTIVE, self.count)
        v_D = self.models.directions.components_KD[slider]
        base_SD, change_SD = found.z_SMD[:count, len(self.sizes)], moved(found.z_SMD, self.sizes)[0, :count]
        others_SK = self._others(slider, active - 1, count)
        without_SD = self._embedded(others_SK)
        with_SD = self._embedded(others_SK + self.unit_K * np.eye(self.count)[slider])
        own = float((change_SD @ v_D).mean())
        retained = float(((with_SD - without_SD) @ v_D).mean()) / own if own else np.nan
        together_SD = change_SD + without_SD - base_SD
        return {"retained": retained, "additivity": float(control.cosines(with_SD - base_SD, together_SD).mean())}

    def _others(self, slider: int, active: int, count: int) -> Array:
        """Raw strengths [count, K]: `active` random sliders at ±1 unit on each seed, never the one looked at."""
        rows_SK = np.zeros((count, self.count))
        for s in range(count if active else 0):
            rng = generator_for(self.models.settings.seed, "side effects", slider * count + s)
            chosen = rng.choice(np.delete(np.arange(self.count), slider), size=active, replace=False)
            rows_SK[s, chosen] = rng.choice([-1.0, 1.0], size=active) * self.unit_K[chosen]
        return rows_SK

    def _embedded(self, strengths_SK: Array) -> Array:
        """φ [S, D] of finished images at raw strengths, on the first seeds of the sweeps."""
        count = len(strengths_SK)
        seen = self.viewer.seen(self.seeds[:count], self.viewer.prompts(count), torch.from_numpy(strengths_SK).float())
        return seen["z"].numpy()

    def _file(self, part: str) -> tuple[Path, str]:
        return self.folder / f"{part}.safetensors", f"{self.fingerprint}:{part}"

    # ---- the whole

    def gathered(self) -> results.Evaluation:
        """All tasks' results as one record."""
        loaded = [load_tensors(self._file(f"{k:03d}")[0], kind="sweep") for k in range(self.count)]
        found = [Sweep.from_tensors(k, tensors) for k, (tensors, _) in enumerate(loaded)]
        by_judge = self._judged()
        trained, judged = views(self.models, found, by_judge, self.judge.identity if self.judge else "")
        by_step = _columns([meta["by_step"] for _, meta in loaded])
        side_effects = _columns([meta["side_effects"] for _, meta in loaded])
        return results.Evaluation(
            seeds=len(self.seeds),
            views=results.Views(training=with_intervals(trained), judge=judged and with_intervals(judged)),
            orthogonality=as_table(control.orthogonality(trained.delta())),
            by_step=ByStep.model_validate({"steps": self.models.point.embed_T, **by_step}),
            side_effects=SideEffects.model_validate({"active": min(ACTIVE, self.count), **side_effects}),
            controls=results.Controls(training=self._controls(trained), judge=judged and self._controls(judged)),
            factors=self._factors(found, by_judge),
            protocols=self._protocols(trained, judged),
            made_from=stored_fingerprint(self.models.run.measures) or "",
        )

    def _protocols(self, trained: View, judged: View | None) -> Protocols:
        mixed = {n: load_tensors(self._file(f"mixes-{n}")[0], kind="mixes")[0] for n in self.composed}
        seen = observability(self.models)
        return Protocols(
            training=protocols.of_view(trained, mixed, "z"),
            judge=judged and protocols.of_view(judged, mixed, "judge"),
            stability=protocols.stability(self.models),
            observability=seen and seen.found,
        )

    def _judged(self) -> Seen | None:
        if self.judge is None:
            return None
        files = [self._file(f"judged-{j:06d}")[0] for j in range(len(self.models.shards))]
        parts = [load_tensors(path, kind="judged")[0] for path in files]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _controls(self, view: View) -> dict[str, Control]:
        """The same sliders measured on directions that are not theirs: what a score is worth."""
        rng, images = generator_for(self.models.settings.seed, "controls", 0), view.manifold_ND
        pairs = np.stack([rng.choice(len(images), size=2, replace=False) for _ in range(self.count)], axis=1)
        others = {
            "random directions": rng.standard_normal(view.v_KD.shape),
            "image differences": images[pairs[0]] - images[pairs[1]],
        }
        return {name: view.against(v_KD) for name, v_KD in others.items()}

    def _factors(self, found: list[Sweep], by_judge: Seen | None) -> EvaluatedFactors | None:
        """The factor table with intervals, controls, and what the directions tell of the model's own images; None
        without a judge."""
        models, judge = self.models, self.judge
        table = factor_table(found, judge.classes, self.sizes, judge.numbers) if judge else None
        if table is None or judge is None or by_judge is None:
            return None
        shown = {name: by_judge[FACTOR + name][: models.settings.samples].numpy() for name in judge.classes}
        labels_NF = np.stack([p_NC.argmax(1) for p_NC in shown.values()], 1)
        seed, v_KD = models.settings.seed, models.directions.components_KD
        z_ND = models.seen.z_NTD[:, -1].double().numpy()
        random_KD = np.linalg.qr(generator_for(seed, "controls", 1).standard_normal(v_KD.shape).T)[0].T
        own, by_chance = (factors.informed(z_ND @ v.T, labels_NF, list(judge.classes)) for v in (v_KD, random_KD))
        chance = generator_for(seed, "controls", 2)
        count = {"sliders": self.count, "seeds": len(self.seeds)}
        unrelated = factors.unrelated(shown, chance, numbers=judge.numbers, **count)
        more = {
            "mean": factors.with_intervals(found, judge.classes, self.sizes, judge.numbers),
            "controls": {"unrelated images": unrelated},
            "told_by_random_directions": by_chance,
        }
        return EvaluatedFactors.model_validate(dict(table) | dict(own) | more)


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """One list a key instead of one record a slider."""
    return {key: [row[key] for row in rows] for key in rows[0]}


def _lanes(slider: int, step: int, trajectories: range, strength: float) -> Lanes:
    """One slider at one step and strength on some trajectories."""
    count = len(trajectories)
    sliders, steps = torch.full((count,), slider), torch.full((count,), step)
    return Lanes(sliders, torch.tensor(trajectories), steps, torch.full((count,), strength))
