"""What each slider does to the true factors of the images, as a judge reads them: the factor table of a space."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array, Ints
from sliderspace.measure.codes import completeness, disentanglement, informativeness, mutual_information_gap
from sliderspace.measure.effects import effects, held_out_gap, own_sliders, single_factor
from sliderspace.measure.intervals import bootstrap
from sliderspace.measure.views import SCALES
from sliderspace.method.sweeps import Sweep

Classes = Mapping[str, Sequence[str]]
# an effect below this is not told from none: what the factor becomes is not said, and shares are taken beside it
NAMED = 0.1


def factor_table(found: Sequence[Sweep], classes: Classes) -> dict[str, Any] | None:
    """Effects [K, F] on each factor between −1 and +1 unit, what it becomes, and how cleanly; None where no judge named
    any.

    `becomes[k][f]` is the value there is more of at −1 unit and the one there is more of at +1.
    """
    if not classes or not found[0].factors:
        return None
    changes = _changes(found, classes)
    effects_KF = effects(changes)
    return {
        "names": list(classes),
        "effects": effects_KF.tolist(),
        "becomes": [
            [_becomes(changes[name][k, 0], classes[name], e) for name, e in zip(classes, row, strict=True)]
            for k, row in enumerate(effects_KF)
        ],
        **_summary(changes),
    }


def _summary(changes: Mapping[str, Array], seeds_S: Ints | None = None) -> dict[str, Any]:
    """How cleanly the sliders take the factors apart."""
    effects_KF, gap_K = effects(changes, seeds_S), held_out_gap(changes, seeds_S)
    mean = {
        "gap": float(gap_K.mean()),
        "disentanglement": disentanglement(effects_KF, NAMED)[1],
        "disentanglement_of_shares": disentanglement(effects_KF)[1],
        "completeness": completeness(effects_KF, NAMED)[1],
    }
    single = int(single_factor(effects_KF).sum())
    return {"gap": gap_K.tolist(), "mean": mean, "own_sliders": own_sliders(effects_KF), "single_factor": single}


def _becomes(change_SC: Array, values: Sequence[str], effect: float) -> list[str] | None:
    """[what goes most, what comes most] on the way from −1 to +1, where it is worth saying."""
    mean_C = change_SC.mean(axis=0)
    return [values[int(mean_C.argmin())], values[int(mean_C.argmax())]] if effect >= NAMED else None


def with_intervals(found: Sequence[Sweep], classes: Classes) -> dict[str, Any]:
    """The means of `_summary` with 95 % intervals over seeds."""
    changes = _changes(found, classes)

    def means(seeds_S: Ints) -> Array:
        if len(np.unique(seeds_S)) == 1:  # no two seeds to agree
            return np.full(len(value), np.nan)
        return np.array([*_summary({name: c[:, :, seeds_S] for name, c in changes.items()}, seeds_S)["mean"].values()])

    value = _summary(changes)["mean"]
    low, high = bootstrap(
        means, len(found[0].z_SMD), centred=True
    )  # fewer different seeds are noisier, and noise lifts most of them
    return {
        key: {"value": v, "low": v + float(low[i]), "high": min(1.0, v + float(high[i]))}
        for i, (key, v) in enumerate(value.items())
    }


def unrelated(read: Mapping[str, Array], rng: np.random.Generator, *, sliders: int, seeds: int) -> dict[str, Any]:
    """The control that no slider made: `sliders` times the "changes" between `seeds` pairs of the model's own images,
    as read [N, C].

    Such a change is as large as changes get and has nothing in common from pair to pair; what it scores is chance.
    """
    count = len(next(iter(read.values())))
    pairs_K2S = np.stack([rng.choice(count, size=(2, min(seeds, count // 2)), replace=False) for _ in range(sliders)])
    told = _summary({name: (p_NC[pairs_K2S[:, 1]] - p_NC[pairs_K2S[:, 0]])[:, None] for name, p_NC in read.items()})
    return told["mean"] | {"own_sliders": told["own_sliders"], "single_factor": told["single_factor"]}


def told(codes_NK: Array, labels_NF: npt.NDArray[np.integer[Any]], names: Sequence[str]) -> dict[str, Any]:
    """What coordinates along the directions tell of the factors of the model's own images: DCI's informativeness, and
    MIG."""
    gaps_F, _ = mutual_information_gap(codes_NK, labels_NF)
    informed = {name: informativeness(codes_NK, labels_NF[:, f]) for f, name in enumerate(names)}
    return {"informativeness": informed, "mutual_information_gap": dict(zip(names, gaps_F.tolist(), strict=True))}


def _changes(found: Sequence[Sweep], classes: Classes) -> dict[str, Array]:
    """Factor -> changes [K, 1, S, values] of its probabilities from −1 to +1 unit."""
    plus, minus = (int(np.flatnonzero(size == SCALES)[0]) for size in (1.0, -1.0))
    return {
        name: np.stack([s.factors[name][None, :, plus] - s.factors[name][None, :, minus] for s in found])
        for name in classes
    }
