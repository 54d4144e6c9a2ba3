"""The stages of a discovery as tasks: functions of (models, index), each leaving one stamped file.

A task whose file is there already does nothing, so any worker may run any task, in any order within a stage, again
after a crash, or in a folder that is later copied together with others. What belongs to the stage as a whole is
gathered from the files of its tasks.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.engine.fingerprints import SHAPED, TRAINED, observed
from sliderspace.engine.models import Models
from sliderspace.engine.seen import observability, views
from sliderspace.measure.factors import factor_table
from sliderspace.measure.results import MadeFrom, SpaceEntry, SpaceFile
from sliderspace.measure.summary import measures
from sliderspace.method.baselines.axes import control_axes, own_images
from sliderspace.method.baselines.concept import ConceptSliders, pair_axes
from sliderspace.method.baselines.customisation import Customisation
from sliderspace.method.calibration import natural_unit
from sliderspace.method.directions import Directions
from sliderspace.method.moments import Moments
from sliderspace.method.objective import LaneLoss, Objective, Recipe
from sliderspace.method.strengths import shown_mixes
from sliderspace.method.sweeps import Seen, Sweep, embedded
from sliderspace.method.training import Update, train
from sliderspace.method.trajectories import finished, from_pictures, from_prompts, sample_shard
from sliderspace.models.encoders import Encoder
from sliderspace.space.labels import Label, write_labels
from sliderspace.storage.files import is_done, load_tensors, save_tensors

# ---- sample


def sample(models: Models, index: int) -> Iterator[int]:
    """One shard of trajectories; yields how many of it are done."""
    shard = models.shards[index]
    if shard.is_done():
        yield shard.last - shard.first
        return
    about = (models.backbone, models.encoder, models.shown)
    seed, embed_T = models.settings.seed, models.point.embed_T
    pictures = models.pictures
    draw = from_pictures(*about, pictures, seed, embed_T) if pictures else from_prompts(*about, seed, embed_T)
    yield from sample_shard(draw, shard, embed_T=embed_T, batch=models.batch)


# ---- fit


def fit(models: Models) -> Directions:
    """The directions of all trajectories that are not held out, and whether each shows in single previews. Raises
    BadInput where there are too few of them."""
    models.settings.check_carried()
    if models.run.find(models.run.directions.name, models.prints.fitted) is None:
        found = directions_of(models, models.seen.z_NTD)
        if models.settings.given_axes:
            found = _along_given(models, found)
        found.save(models.run.unfinished.directions, models.prints.fitted)
    made_from = observed(models.prints.fitted)
    if models.run.find(models.run.observability.name, made_from) is None and (seen := observability(models)):
        beside = models.need(models.run.directions, models.prints.fitted, "fit")
        seen.write(beside.with_name(models.run.observability.name), made_from)
    return models.directions


def directions_of(models: Models, z_NTD: torch.Tensor) -> Directions:
    """What the settings find in the embeddings of some trajectories."""
    s, (count, steps, dim) = models.settings, z_NTD.shape
    step_N = np.tile(np.arange(steps), count)
    z_ND = z_NTD.flatten(0, 1).double().numpy()
    found = (
        Moments(steps, dim)
        .update(z_ND, step_N)
        .fit(
            1 if s.pairs else s.sliders,
            trajectories=count,
            centring=s.centring,
            encoder=models.point.encoder_identity,
            step_indices=models.point.embed_T,
        )
    )
    turned = {"none": lambda *_: found, "varimax": found.rotated, "independent": found.independent}
    return turned[s.rotation](z_ND, step_N)


def _along_given(models: Models, found: Directions) -> Directions:
    """Axes that nothing found in place of those found: a control's, or those of pairs of words."""
    s, z_NTD = models.settings, models.seen.z_NTD
    z_ND, step_N = z_NTD.flatten(0, 1).double().numpy(), np.tile(np.arange(z_NTD.shape[1]), len(z_NTD))
    if s.pairs:
        axes_KD = pair_axes(models.backbone, models.encoder, models.paired, s.pairs, s.seed, models.batch)
        return found.toward(axes_KD, z_ND, step_N)
    axes_KD = control_axes(s.control, s.seed, z_NTD[:, -1].double().numpy(), found.mean_TD[-1], s.sliders)
    return found.along(axes_KD, z_ND, step_N)


# ---- train


def train_group(models: Models, index: int) -> Iterator[Update]:
    """One group of sliders, each into a file of its own; continues at the last checkpoint of the group."""
    group = models.groups[index]
    if all(is_done(_slider(models, k), _of(models.prints.trained, k)) for k in group):
        return
    checkpoint = models.run.unfinished.sliders_parts / f"training-{group.start:03d}.safetensors"
    bank = models.bank(group)
    seed, made_from = models.settings.seed, models.prints.trained
    history: list[Update] = []
    objective = objective_of(models, group, bank)
    updates = train(
        objective,
        models.seen,
        models.unseen,
        seed=seed,
        lanes=models.lanes,
        checkpoint=checkpoint,
        fingerprint=_of(made_from, f"{group.start} to {group.stop}"),  # with other lanes the groups are others
    )
    with objective.compiled() if models.speed.compile else nullcontext():
        for update in updates:
            history += [update] if update.held_out_K else []
            yield update
    for place, k in enumerate(group):
        held = [[update.index + 1, update.held_out_K[place]] for update in history if update.held_out_K]
        values = {name: v[place] for name, v in bank.tensors().items()}
        save_tensors(_slider(models, k), values, kind="slider", fingerprint=_of(made_from, k), history=held)
    checkpoint.unlink(missing_ok=True)


def objective_of(models: Models, group: range, bank: Any) -> LaneLoss:
    """The objective that the settings name, for a bank of some sliders."""
    s = models.settings
    recipe = Recipe(**s.model_dump(include=TRAINED - SHAPED))
    if s.pairs:
        return ConceptSliders(models.backbone, models.shown, bank, recipe, models.paired, s.eta)
    about = (models.backbone, models.encoder, models.shown, bank, models.directions, recipe)
    finished_ND = models.seen.z_NTD[:, -1].double().numpy()
    if s.objective == "customised":
        return Customisation(*about).of(models.seen, own_images(models.directions, s.seed, finished_ND))
    return Objective(*about, sides_K2=models.directions.sides(finished_ND))


def gather_sliders(models: Models) -> bool:
    """All sliders in one file, once each has its own; False while some are missing."""
    with models.run.gathering():
        return _gather_sliders(models)


def _gather_sliders(models: Models) -> bool:
    run, made_from, count = models.run.unfinished, models.prints.trained, models.settings.sliders
    if models.run.find(run.sliders.name, made_from) is not None:
        return True
    if not all(is_done(_slider(models, k), _of(made_from, k)) for k in range(count)):
        return False
    parts = [load_tensors(_slider(models, k), kind="slider") for k in range(count)]
    values = {name: torch.stack([tensors[name] for tensors, _ in parts]) for name in parts[0][0]}
    held_KH2 = np.array([meta["history"] for _, meta in parts])
    save_tensors(run.sliders, values, kind="sliders", fingerprint=made_from, history=held_KH2.mean(0).tolist())
    return True


# ---- measure


def judge_shard(models: Models, index: int) -> None:
    """What the judge sees in the finished images of one shard of trajectories."""
    path, made_from = _measured(models, f"judged-{index:06d}"), _of(models.prints.measured, f"judged {index}")
    if models.judge is None or is_done(path, made_from):
        return
    shard = models.shards[index]
    save_tensors(path, judged(models, shard.first, shard.last, models.judge), kind="judged", fingerprint=made_from)


def judged(models: Models, first: int, last: int, judge: Encoder) -> Seen:
    """What a judge sees in the finished images of trajectories first … last−1."""
    batches = finished(models.backbone, models.shown, models.trajectories.part(first, last), models.batch)
    return embedded(batches, None, judge)


def measure_base(models: Models) -> None:
    """The model alone on the seeds that sliders are calibrated and measured on, and the pictures the report begins
    with."""
    path, made_from = _measured(models, "base"), _of(models.prints.measured, "base")
    if is_done(path, made_from):
        return
    how, viewer = models.measuring, models.viewer(models.judge)
    parts = {
        "calibration": viewer.base(models.seeds("calibration", how.calibration_seeds)),
        "measure": viewer.base(models.seeds("measure", how.seeds), keep=how.shown_seeds),
        "shown": viewer.base(range(how.base_images), keep=how.base_images),
    }
    tensors = {f"{part}/{name}": t for part, seen in parts.items() for name, t in seen.items()}
    save_tensors(path, tensors, kind="base", fingerprint=made_from)


def measure_slider(models: Models, slider: int) -> None:
    """One slider's natural unit, and its sweep on held-out seeds."""
    path, made_from = _measured(models, f"{slider:03d}"), _of(models.prints.measured, slider)
    if is_done(path, made_from):
        return
    how, base = models.measuring, _base(models)
    direction, sigma = models.directions.components_KD[slider], float(models.directions.sigma_TK[-1, slider])
    viewer, few = models.viewer(None), models.seeds("calibration", how.calibration_seeds)

    def projected(size: float) -> Array:
        change_SMD = viewer.sweep(slider, few, (size,), base["calibration"]).change_SMD
        return change_SMD[:, [0, 2]] @ direction

    unit, reached = natural_unit(projected, how.raw_sizes, sigma)
    seeds = models.seeds("measure", how.seeds)
    sizes = [unit * size for size in how.sizes]
    found = models.viewer(models.judge).sweep(slider, seeds, sizes, base["measure"], keep=how.shown_seeds)
    save_tensors(path, found.tensors(), kind="sweep", fingerprint=made_from, unit=unit, reached=reached)


def measure_mixes(models: Models) -> None:
    """Small pictures of random mixes, once every slider has its unit; the seeds are the first of those that the report
    begins with."""
    path, made_from, how = _measured(models, "mixes"), _of(models.prints.measured, "mixes"), models.measuring
    with models.run.gathering():  # every worker ends with this, and whoever was first may have published since
        if is_done(path, made_from) or (loaded := _sweeps(models)) is None:
            return
        count, unit_K = min(how.mixes, how.base_images), torch.tensor([meta["unit"] for _, meta in loaded])
        rows_NK, viewer = shown_mixes(count, len(unit_K)) * unit_K, models.viewer(None)
        seen = viewer.seen(range(count), viewer.prompts(count), rows_NK, keep=count)
        save_tensors(path, {"images": seen["images"]}, kind="mixes", fingerprint=made_from)


def _sweeps(models: Models) -> list[tuple[dict[str, torch.Tensor], dict[str, Any]]] | None:
    """What was measured of each slider; None while some are missing."""
    made_from, count = models.prints.measured, models.settings.sliders
    due = {_measured(models, f"{k:03d}"): _of(made_from, k) for k in range(count)}
    return [load_tensors(p, kind="sweep") for p in due] if all(is_done(p, of) for p, of in due.items()) else None


def _base(models: Models) -> dict[str, Seen]:
    path = _measured(models, "base")
    if not is_done(path, _of(models.prints.measured, "base")):
        raise BadInput(f"{path} is missing.\nRun `sliderspace measure {models.run.typed}` first.")
    parts: dict[str, Seen] = {"calibration": {}, "measure": {}, "shown": {}}
    for name, value in load_tensors(path, kind="base")[0].items():
        part, _, rest = name.partition("/")
        parts[part][rest] = value
    return parts


def gather_measures(models: Models) -> bool:
    """The measures of all sliders, their strips and the space itself, once each slider is measured; then the run is
    whole, and replaces the one before. False while some are missing."""
    with models.run.gathering():
        if whole := is_measured(models) or _gather_measures(models):  # the names also where a run was cut off before
            write_labels(models.run, [Label(name=p.title) for p in models.settings.pairs], models.prints.trained)
        return whole


def _gather_measures(models: Models) -> bool:
    run, prints, made_from = models.run.unfinished, models.prints, models.prints.measured
    shards = range(len(models.shards)) if models.judge else ()
    due = {f"judged-{j:06d}": f"judged {j}" for j in shards} | {"mixes": "mixes"}
    found_all = all(is_done(_measured(models, part), _of(made_from, of)) for part, of in due.items())
    if not found_all or (loaded := _sweeps(models)) is None:
        return False
    found = [Sweep.from_tensors(k, tensors) for k, (tensors, _) in enumerate(loaded)]
    trained, seen_by_judge = views(models, found, _judged_shards(models), models.point.judge_identity)
    judge, sizes = models.judge, models.measuring.sizes
    factors = factor_table(found, judge.classes, sizes, judge.numbers) if judge else None
    unit_K = np.array([meta["unit"] for _, meta in loaded])
    reached_K = [bool(meta["reached"]) for _, meta in loaded]
    result = measures(trained, seen_by_judge, models.directions, unit_K, reached_K, factors)
    strips = {
        "sliders": np.stack([s.images_SMHWC for s in found]),
        "base": _base(models)["shown"]["images"].numpy(),
        "mixes": load_tensors(_measured(models, "mixes"), kind="mixes")[0]["images"].numpy(),
    }
    save_tensors(run.strips, strips, kind="strips", fingerprint=made_from)
    result.write(run.measures, made_from)
    _save_space(models, unit_K)
    parts = {run.directions: prints.fitted, run.observability: observed(prints.fitted), run.sliders: prints.trained}
    parts |= dict.fromkeys((run.measures, run.strips, run.space), made_from)
    # What was begun with other settings and left off lies there too, and stays behind.
    models.run.publish([place.name for place, made_from in parts.items() if is_done(place, made_from)])
    return True


def is_measured(models: Models) -> bool:
    """Whether the finished run is one of these very settings."""
    run, prints = models.run, models.prints
    parts = {run.directions: prints.fitted, run.sliders: prints.trained}
    parts |= dict.fromkeys((run.space, run.measures, run.strips), prints.measured)
    return all(is_done(place, made_from) for place, made_from in parts.items())


def _save_space(models: Models, unit_K: "np.ndarray[Any, Any]") -> None:
    prints = models.prints
    made_from = MadeFrom(directions=prints.fitted, sliders=prints.trained)
    entries = tuple(SpaceEntry(index=k, unit=float(unit)) for k, unit in enumerate(unit_K))
    space = SpaceFile(made_from=made_from, settings=models.settings, sliders=entries)
    space.write(models.run.unfinished.space, prints.measured)


def _judged_shards(models: Models) -> Seen | None:
    if models.judge is None:
        return None
    parts = [load_tensors(_measured(models, f"judged-{j:06d}"), kind="judged")[0] for j in range(len(models.shards))]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _slider(models: Models, k: int) -> Path:
    """A slider's values, until all are gathered."""
    return models.run.unfinished.sliders_parts / f"{k:03d}.safetensors"


def _measured(models: Models, part: str) -> Path:
    """What was measured of a slider or a shard, until all is gathered."""
    return models.run.unfinished.measuring / f"{part}.safetensors"


def _of(fingerprint: str, part: object) -> str:
    return f"{fingerprint}:{part}"
