"""`sliderspace evaluate`: all that can be measured of a finished space, with intervals, written to `evaluation.json` of
its folder.

A discovery measures enough to say which sliders work. Here are more seeds and 95 % intervals, the training encoder and
the judge beside each other, each sampler step by itself, what sliders do to each other, and, where a judge can name
factors, how the sliders compare with controls.
"""

from collections.abc import Generator, Iterator

import numpy as np
import torch

from sliderspace.core.arrays import Array
from sliderspace.core.seeds import generator_for
from sliderspace.engine.local import Engine, Progress
from sliderspace.measure import control, factors, results
from sliderspace.measure.factors import factor_table
from sliderspace.measure.results import ByStep, Control, EvaluatedFactors, Measures, SideEffects, SpaceFile
from sliderspace.measure.summary import as_table, with_intervals
from sliderspace.measure.views import View, moved
from sliderspace.method.denoise import render
from sliderspace.method.objective import Lanes, Objective, Recipe
from sliderspace.method.sweeps import FACTOR, Sweep
from sliderspace.models.encoders import Encoder
from sliderspace.storage.files import stored_fingerprint

ACTIVE = 3  # sliders on at once, as in the paper's evaluation


STEP_TRAJECTORIES = 16


SIDE_SEEDS = 8


PURPOSE = "evaluate"  # names the seeds, which are used for nothing else


class Evaluation:
    """One evaluation of an engine's finished space, on `seeds` seeds of its own. `judge` replaces the preset's where it
    is given."""

    def __init__(self, engine: Engine, seeds: int, judge: Encoder | None = None) -> None:
        self.engine, self.seeds, self.judge = engine, seeds, judge or engine.judge
        self.count = len(engine.bank)
        self.found: list[Sweep] = []

    def __call__(self) -> Iterator[Progress]:
        engine, run = self.engine, self.engine.run
        engine.load_sliders()
        engine.need(run.measures, engine.measured, "train")
        self.unit_K = np.array([entry.unit for entry in SpaceFile.read(run.space).sliders])
        self.sizes = Measures.read(run.measures).sizes
        total = 3 * self.count
        for sweep in engine.sweeps(PURPOSE, self.seeds, np.outer(self.unit_K, self.sizes), self.judge):
            self.found.append(sweep)
            yield Progress("evaluate", sweep.slider + 1, total, "sweeps")
        by_step = yield from self._by_step(total)
        side_effects = yield from self._side_effects(total)
        trained, judged = engine.views(self.found, self.judge)
        yield Progress("evaluate", total, total, "intervals")
        result = results.Evaluation(
            seeds=self.seeds,
            views=results.Views(training=with_intervals(trained), judge=judged and with_intervals(judged)),
            orthogonality=as_table(control.orthogonality(trained.delta())),
            by_step=by_step,
            side_effects=side_effects,
            controls=results.Controls(training=self._controls(trained), judge=judged and self._controls(judged)),
            factors=self._factors(),
            made_from=stored_fingerprint(run.measures) or "",
        )
        result.write(run.evaluation, engine.measured)

    def _by_step(self, total: int) -> Generator[Progress, None, ByStep]:
        """Preview alignment and consistency [K, T] at one unit, on held-out trajectories: where along the way a slider
        does its work."""
        engine = self.engine
        data = engine.unseen.part(0, min(STEP_TRAJECTORIES, len(engine.unseen)))
        objective = Objective(
            engine.backbone, engine.encoder, engine.shown, engine.bank, engine.directions, Recipe(updates=1, lr=0.0)
        )
        table = np.zeros((2, self.count, len(data.steps_T)))
        for k, v in enumerate(engine.directions.components_KD):
            for t in range(len(data.steps_T)):
                with torch.no_grad():
                    delta = [
                        objective.delta(data, _lanes(k, t, len(data), s * self.unit_K[k])) * s for s in (1.0, -1.0)
                    ]
                delta_SD = torch.cat(delta).cpu().double().numpy()
                table[:, k, t] = control.alignment(delta_SD, v), control.consistency(delta_SD)
            yield Progress("evaluate", self.count + k + 1, total, "step by step")
        steps = tuple(int(step) for step in data.steps_T.tolist())
        return ByStep(steps=steps, alignment=as_table(table[0]), consistency=as_table(table[1]))

    def _side_effects(self, total: int) -> Generator[Progress, None, SideEffects]:
        """What is left of each slider's own move while others are on, and whether moves add up, on the first seeds of
        the sweeps."""
        count, active = min(SIDE_SEEDS, self.seeds), min(ACTIVE, self.count)
        retained, additive = np.zeros(self.count), np.zeros(self.count)
        for k, v in enumerate(self.engine.directions.components_KD):
            z_SMD = self.found[k].z_SMD[:count]
            change_SD = moved(z_SMD, self.sizes)[0]
            base_SD = z_SMD[:, len(self.sizes)]
            others_SK = self._others(k, active - 1, count)
            without_SD, with_SD = self._drawn(others_SK), self._drawn(others_SK + self.unit_K * np.eye(self.count)[k])
            own = float((change_SD @ v).mean())
            retained[k] = ((with_SD - without_SD) @ v).mean() / own if own else np.nan
            additive[k] = control.cosines(with_SD - base_SD, change_SD + without_SD - base_SD).mean()
            yield Progress("evaluate", 2 * self.count + k + 1, total, "several at once")
        return SideEffects(active=active, retained=tuple(retained.tolist()), additivity=tuple(additive.tolist()))

    def _others(self, slider: int, active: int, count: int) -> Array:
        """Raw strengths [count, K]: `active` random sliders at ±1 unit on each seed, never the one looked at."""
        rows_SK = np.zeros((count, self.count))
        for s in range(count if active else 0):
            rng = generator_for(self.engine.settings.seed, "side effects", slider * count + s)
            chosen = rng.choice(np.delete(np.arange(self.count), slider), size=active, replace=False)
            rows_SK[s, chosen] = rng.choice([-1.0, 1.0], size=active) * self.unit_K[chosen]
        return rows_SK

    def _drawn(self, strengths_SK: Array) -> Array:
        """φ [S, D] of finished images at raw strengths, on the first seeds of the sweeps."""
        engine, seeds = self.engine, self.engine.seeds(PURPOSE, len(strengths_SK))
        prompts = [i % len(engine.condition) for i in range(len(seeds))]
        rows = torch.from_numpy(strengths_SK).float()
        batches = render(engine.backbone, engine.bank, engine.condition, seeds, prompts, rows, batch=engine.speed.batch)
        with torch.no_grad():
            return torch.cat([engine.encoder(b).cpu() for b in batches]).double().numpy()

    def _controls(self, view: View) -> dict[str, Control]:
        """The same sliders measured on directions that are not theirs: what a score is worth."""
        rng, images = generator_for(self.engine.settings.seed, "controls", 0), view.manifold_ND
        pairs = rng.choice(len(images), size=(2, self.count), replace=False)
        others = {
            "random directions": rng.standard_normal(view.v_KD.shape),
            "image differences": images[pairs[0]] - images[pairs[1]],
        }
        return {name: view.against(v_KD) for name, v_KD in others.items()}

    def _factors(self) -> EvaluatedFactors | None:
        """The factor table with intervals, controls, and what the directions tell of the model's own images; None
        without a judge."""
        engine, judge = self.engine, self.judge
        table = factor_table(self.found, judge.classes, self.sizes) if judge else None
        if table is None or judge is None:
            return None
        shown = engine.judged(engine.seen, judge)
        read = {name: shown[FACTOR + name].double().numpy() for name in judge.classes}
        labels_NF = np.stack([p_NC.argmax(1) for p_NC in read.values()], 1)
        chance = generator_for(engine.settings.seed, "controls", 2)
        z_ND, v_KD = engine.seen.z_NTD[:, -1].double().numpy(), engine.directions.components_KD
        random_KD = np.linalg.qr(generator_for(engine.settings.seed, "controls", 1).standard_normal(v_KD.shape).T)[0].T
        own, random = (factors.informed(z_ND @ v.T, labels_NF, list(judge.classes)) for v in (v_KD, random_KD))
        unrelated = factors.unrelated(read, chance, sliders=self.count, seeds=self.seeds)
        more = {
            "mean": factors.with_intervals(self.found, judge.classes, self.sizes),
            "controls": {"unrelated images": unrelated},
            "told_by_random_directions": random,
        }
        return EvaluatedFactors.model_validate(dict(table) | dict(own) | more)


def _lanes(slider: int, step: int, count: int, strength: float) -> Lanes:
    """One slider at one step and strength on trajectories 0 … count−1."""
    return Lanes(
        torch.full((count,), slider), torch.arange(count), torch.full((count,), step), torch.full((count,), strength)
    )
