"""A finished run -> how good its sliders could be, in its own model and encoder: three yardsticks without training.

    python -m sliderspace.experiments.oracle runs/monster

*Picking*: for each held-out finished image and each direction, the image among all finished images of the run that lies
furthest along the direction for the distance travelled, at least half a natural standard deviation away: the best
"edit" by picking from a pool of real outcomes. A slider that changes one thing at a time can beat it; one that keeps to
what the model draws cannot by much.

*Asking*: the labelled way to move an image, words added to the prompt with the same seed. Its consistency, its
alignment with the direction that fits it best, the share of seeds on which six equal steps of the text states move the
image in order, whether it moves one true factor, and how real it leaves the image: what an oracle with labels and the
whole denoiser gets.

*Waiting*: of many fresh images that nothing has changed, those that lie one, two and three natural units or more out
along a direction, and how real they are. No slider need leave more of its images among the model's own.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sliderspace.core.arrays import Array
from sliderspace.core.errors import SliderSpaceError
from sliderspace.core.settings import Speed
from sliderspace.engine.begin import space_settings
from sliderspace.engine.models import Models
from sliderspace.measure import control
from sliderspace.measure.effects import effects, single_factor
from sliderspace.measure.factors import Numbers, by_distance
from sliderspace.method.denoise import render
from sliderspace.method.sweeps import FACTOR, Seen, embedded
from sliderspace.models.backbones import Condition
from sliderspace.storage.run_folder import RunFolder

WORDS = (  # one thing to say of a creature; an adjective comes before the noun, all else at the end
    "blue",
    "fat",
    "small",
    " with long horns",
    " with long ears",
    " with one eye",
    " with stripes",
    " with a long tail",
    ", arms up",
    ", turned left",
    ", pink background",
    ", neon style",
)
SEEDS = 24
STEPS = 6
UNITS = (1, 2, 3)
FRESH = 2048  # images of which some lie three units out
POOL = 256  # fresh images among which directions are carried over to the judge, and edits are real or not
ENCODER, JUDGE = "z", "judge"  # whose embedding


@dataclass(frozen=True)
class Eyes:
    """A run's directions [K, D] in each embedding, and POOL of the model's own pictures [POOL, D] in that of the judge,
    without one the encoder's."""

    directions: Mapping[str, Array]
    own_ND: Array

    @property
    def judge(self) -> str:
        return JUDGE if JUDGE in self.directions else ENCODER

    def realism(self, z_ND: Array) -> float:
        """Of images as the judge sees them: half of the own pictures are the manifold, the others its yardstick."""
        half = len(self.own_ND) // 2
        return control.realism(z_ND, self.own_ND[:half], self.own_ND[half:])


def picked(from_ND: Array, pool_MD: Array, direction_D: Array, least: float) -> tuple[float, float]:
    """Mean best and mean random cosine of (pool − from) with ±direction, over pairs that move at least `least` along
    it."""
    delta_NMD = pool_MD[None] - from_ND[:, None]
    along_NM = delta_NMD @ direction_D
    cosine_NM = along_NM / np.linalg.norm(delta_NMD, axis=2).clip(1e-9)
    best = [np.where(sign * along_NM >= least, sign * cosine_NM, -1).max(1) for sign in (1, -1)]
    reached = np.concatenate(best)
    return float(reached[reached > -1].mean()), float(np.abs(cosine_NM).mean())


def said_of(bare: str, words: str) -> str:
    """A prompt such as "a monster" with some words of `WORDS` put in."""
    article, _, rest = bare.partition(" ")
    return bare + words if words.startswith((" ", ",")) else f"{article} {words} {rest}"


def asked(models: Models, words: str, eyes: Eyes) -> dict[str, float]:
    """The measures of an edit by words: SEEDS seeds at STEPS + 1 equal steps between the two prompts."""
    bare = models.settings.prompts[0]
    plain, said = (models.backbone.encode([text]) for text in (bare, said_of(bare, words)))
    seeds = models.seeds("limit", SEEDS)
    steps: list[Seen] = []
    for share in np.linspace(0, 1, STEPS + 1).tolist():
        between = Condition(
            {name: torch.lerp(t, said.texts[name], share) for name, t in plain.texts.items()}, plain.empty
        )
        images = render(models.backbone, None, between, seeds, [0] * SEEDS)
        steps.append(embedded(images, models.encoder, models.judge))
    seen = {name: torch.stack([step[name] for step in steps], 1).numpy() for name in steps[0]}
    return by_eyes(seen, eyes) | one_factor(seen, models.judge.numbers if models.judge else {})


def one_factor(seen: Mapping[str, Array], numbers: Numbers) -> dict[str, float]:
    """Whether an edit's largest effect on a true factor is at least twice its second, from the judge's readings
    [S, STEPS + 1, classes] of each factor: 1 or 0; nothing where no judge names any."""
    read = {name.removeprefix(FACTOR): p for name, p in seen.items() if name.startswith(FACTOR)}
    changes = {name: (p[:, -1] - p[:, 0])[None, None] for name, p in read.items()}
    return {"one factor": float(single_factor(effects(by_distance(changes, numbers)))[0])} if changes else {}


def by_eyes(seen: Mapping[str, Array], eyes: Eyes) -> dict[str, float]:
    """The measures of one edit [S, STEPS + 1, D] in each embedding, the judge's named so, and how real its end is."""
    found: dict[str, float] = {}
    for eye, v_KD in eyes.directions.items():
        name = "" if eye == ENCODER else f"{eye} "
        found |= {name + key: value for key, value in measured(seen[eye], v_KD).items()}
    return found | {"realism": eyes.realism(seen[eyes.judge][:, -1])}


def measured(z_SMD: Array, v_KD: Array) -> dict[str, float]:
    """Of an edit in M equal steps: how alike it is on all seeds, how near to the best of some directions, in what share
    of them the steps are in order, and how far it goes."""
    delta_SD = z_SMD[:, -1] - z_SMD[:, 0]
    mean_D = delta_SD.mean(axis=0) / np.linalg.norm(delta_SD.mean(axis=0))
    along_KSM = ((z_SMD - z_SMD[:, :1]) @ mean_D)[None]
    return {
        "consistency": control.consistency(delta_SD),
        "alignment with its best direction": max(abs(control.alignment(delta_SD, v)) for v in v_KD),
        "monotone share": float(control.monotone_share(along_KSM, np.arange(z_SMD.shape[1]))[0]),
        "length": float(np.linalg.norm(delta_SD, axis=1).mean()),
    }


def eyes_of(models: Models) -> Eyes:
    """The run's directions in its encoder, and carried over to its judge among POOL fresh images."""
    v_KD = models.directions.components_KD
    own = drawn(models, "limit pool", POOL)
    if models.judge is None:
        return Eyes({ENCODER: v_KD}, own[ENCODER])
    return Eyes({ENCODER: v_KD, JUDGE: control.carried_over(v_KD, own[ENCODER], own[JUDGE])}, own[JUDGE])


def drawn(models: Models, purpose: str, count: int) -> dict[str, Array]:
    """The model's own images as each embedding sees them, [count, D]."""
    images = render(models.backbone, None, models.condition, models.seeds(purpose, count), [0] * count)
    return {name: z.numpy() for name, z in embedded(images, models.encoder, models.judge).items()}


def picking(models: Models) -> dict[str, Any]:
    """The first yardstick, the mean over directions and by direction."""
    d = models.directions
    pool_MD, from_ND = (data.z_NTD[:, -1].double().numpy() for data in (models.seen, models.unseen))
    found = [picked(from_ND, pool_MD, v, 0.5 * s) for v, s in zip(d.components_KD, d.sigma_TK[-1], strict=True)]
    best, random = (float(np.mean(column)) for column in zip(*found, strict=True))
    by_direction = [round(b, 3) for b, _ in found]
    return {"pool": len(pool_MD), "best_of_pool": best, "random": random, "by_direction": by_direction}


def asking(models: Models, eyes: Eyes, edits: Sequence[str] = WORDS) -> dict[str, dict[str, float]]:
    """The second yardstick, by words, and their mean."""
    found = {words: asked(models, words, eyes) for words in edits}
    mean = {key: float(np.mean([m[key] for m in found.values()])) for key in next(iter(found.values()))}
    return {**found, "mean": mean}


def waiting(models: Models, eyes: Eyes, count: int = FRESH) -> dict[str, Any]:
    """The third yardstick, and how many images it is of: one counts for each direction that it lies far out along."""
    fresh = drawn(models, "limit fresh", count)
    z_ND = fresh[eyes.judge]
    away_ND = fresh[ENCODER] - models.directions.mean_TD[-1]
    units_NK = np.abs(away_ND @ models.directions.components_KD.T) / models.directions.sigma_TK[-1]
    far = {unit: np.nonzero(units_NK >= unit)[0] for unit in UNITS}
    return {
        "images": {unit: len(where) for unit, where in far.items()},
        "realism": {unit: control.realism(z_ND[where], eyes.own_ND, z_ND) for unit, where in far.items() if len(where)},
    }


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder")
    run = RunFolder(parser.parse_args(words).folder)
    try:
        models = Models(space_settings(run), Speed(), run)
    except SliderSpaceError as error:
        sys.exit(f"{error}")
    eyes = eyes_of(models)
    print("picking", json.dumps(picking(models)))
    for words, measured in asking(models, eyes).items():
        print(words, {key: round(value, 3) for key, value in measured.items()})
    print("waiting", json.dumps(waiting(models, eyes)))


if __name__ == "__main__":
    main()
