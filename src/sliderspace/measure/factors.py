"""What each slider does to the true factors of the images, as a judge reads them: the factor table of a space.

A factor is a choice among names, or a number, read as one of a few ordered steps. A number's change counts by how far
it goes: its whole range is 1, as one choice to another is, and a step to the next is little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array, Ints
from sliderspace.measure.codes import completeness, disentanglement, informativeness, mutual_information_gap
from sliderspace.measure.effects import effects, held_out_gap, own_sliders, single_factor
from sliderspace.measure.intervals import bootstrap
from sliderspace.measure.records import as_table, interval
from sliderspace.measure.results import FactorControl, FactorMeans, Factors, Informed, Interval, Number
from sliderspace.measure.views import ends
from sliderspace.method.sweeps import Sweep

Classes = Mapping[str, Sequence[str]]
Numbers = Mapping[str, Sequence[float]]  # of the factors that are numbers: what each class stands for, ascending
# An effect below this cannot be told from none: what the factor becomes is not named, and shares are taken beside it.
NAMED = 0.1


@dataclass(frozen=True)
class Summary:
    """How cleanly sliders take the factors apart: gap [K], the means by name, and two counts."""

    effects_KF: Array
    gap_K: Array
    mean: dict[str, float]
    own_sliders: int
    single_factor: int


def factor_table(
    found: Sequence[Sweep], classes: Classes, sizes: Sequence[float], numbers: Numbers | None = None
) -> Factors | None:
    """Sweeps over `sizes` and the classes of each factor -> effects [K, F] between −1 and +1 unit, what each factor
    becomes, and how cleanly; None where no judge named any.

    `becomes[k][f]` is the value there is more of at −1 unit and the one there is more of at +1.
    """
    if not classes or not found[0].factors:
        return None
    changes = _changes(found, classes, sizes)
    summary = _summary(by_distance(changes, numbers))
    return Factors(
        names=tuple(classes),
        effects=as_table(summary.effects_KF),
        becomes=tuple(
            tuple(_becomes(changes[name][k, 0], classes[name], e) for name, e in zip(classes, row, strict=True))
            for k, row in enumerate(summary.effects_KF)
        ),
        gap=tuple(summary.gap_K.tolist()),
        mean=FactorMeans[Number].model_validate(summary.mean),
        own_sliders=summary.own_sliders,
        single_factor=summary.single_factor,
    )


def _summary(changes: Mapping[str, Array], seeds_S: Ints | None = None) -> Summary:
    effects_KF = effects(changes, seeds_S)
    gap_K = held_out_gap(changes, seeds_S)
    mean = {
        "gap": float(gap_K.mean()),
        "disentanglement": disentanglement(effects_KF, NAMED)[1],
        "disentanglement_of_shares": disentanglement(effects_KF)[1],
        "completeness": completeness(effects_KF, NAMED)[1],
    }
    return Summary(effects_KF, gap_K, mean, own_sliders(effects_KF), int(single_factor(effects_KF).sum()))


def _becomes(change_SC: Array, values: Sequence[str], effect: float) -> tuple[str, str] | None:
    """What goes most and what comes most on the way from −1 to +1, where the effect is worth naming."""
    mean_C = change_SC.mean(axis=0)
    return (values[int(mean_C.argmin())], values[int(mean_C.argmax())]) if effect >= NAMED else None


def with_intervals(
    found: Sequence[Sweep], classes: Classes, sizes: Sequence[float], numbers: Numbers | None = None
) -> FactorMeans[Interval]:
    """The means of the factor table with 95 % intervals over seeds."""
    changes = by_distance(_changes(found, classes, sizes), numbers)
    value = _summary(changes).mean

    def means(seeds_S: Ints) -> Array:
        if len(np.unique(seeds_S)) == 1:  # no two seeds to agree
            return np.full(len(value), np.nan)
        return np.array([*_summary({name: c[:, :, seeds_S] for name, c in changes.items()}, seeds_S).mean.values()])

    # Centred: fewer different seeds are noisier, and noise lifts most of the means.
    low, high = bootstrap(means, len(found[0].z_SMD), centred=True)
    ends_of = {key: (v, v + float(low[i]), min(1.0, v + float(high[i]))) for i, (key, v) in enumerate(value.items())}
    return FactorMeans[Interval].model_validate({key: interval(*three) for key, three in ends_of.items()})


def unrelated(
    read: Mapping[str, Array],
    rng: np.random.Generator,
    *,
    sliders: int,
    seeds: int,
    numbers: Numbers | None = None,
) -> FactorControl:
    """The control that no slider made: `sliders` times the "changes" between `seeds` pairs of the model's own images,
    from class probabilities [N, C] by factor. Fewer than 4 images make no two pairs to compare, and leave it empty.

    Such a change is as large as changes get and has nothing in common from pair to pair; what it scores is chance.
    """
    count = len(next(iter(read.values())))
    if count < 4:
        return FactorControl()
    pairs_K2S = np.stack([rng.choice(count, size=(2, min(seeds, count // 2)), replace=False) for _ in range(sliders)])
    changes = {name: (p_NC[pairs_K2S[:, 1]] - p_NC[pairs_K2S[:, 0]])[:, None] for name, p_NC in read.items()}
    chance = _summary(by_distance(changes, numbers))
    counts = {"own_sliders": chance.own_sliders, "single_factor": chance.single_factor}
    return FactorControl.model_validate(chance.mean | counts)


def informed(codes_NK: Array, labels_NF: npt.NDArray[np.integer[Any]], names: Sequence[str]) -> Informed:
    """Coordinates along the directions and factor labels of the model's own images -> DCI's informativeness, and MIG,
    of each factor."""
    gaps_F, _ = mutual_information_gap(codes_NK, labels_NF)
    return Informed(
        informativeness={name: informativeness(codes_NK, labels_NF[:, f]) for f, name in enumerate(names)},
        mutual_information_gap=dict(zip(names, gaps_F.tolist(), strict=True)),
    )


def _changes(found: Sequence[Sweep], classes: Classes, sizes: Sequence[float]) -> dict[str, Array]:
    """Factor -> changes [K, 1, S, values] of its probabilities from −1 to +1 unit."""
    plus, minus = ends(sizes)
    return {
        name: np.stack([s.factors[name][None, :, plus] - s.factors[name][None, :, minus] for s in found])
        for name in classes
    }


def by_distance(changes: Mapping[str, Array], numbers: Numbers | None) -> dict[str, Array]:
    """Changes [..., C] with a number's as that of two classes, its lowest and its highest: its expected place between
    them, 0 … 1, is the probability of the highest."""
    return {name: _ends(d, numbers[name]) if numbers and name in numbers else d for name, d in changes.items()}


def _ends(change: Array, steps: Sequence[float]) -> Array:
    place_C = (np.asarray(steps) - steps[0]) / (steps[-1] - steps[0])
    return np.stack([-(change @ place_C), change @ place_C], axis=-1)
