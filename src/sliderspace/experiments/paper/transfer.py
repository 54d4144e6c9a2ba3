"""Transfer: do sliders of one concept, or of a teacher, do the same on other concepts, or on its distilled form?"""

from collections.abc import Mapping, Sequence

import numpy as np

from sliderspace.core.arrays import Array
from sliderspace.experiments.paper.experiment import Asked, Cell, Column, Experiment, Row
from sliderspace.experiments.paper.numbers import array
from sliderspace.experiments.paper.pictures import Pictures, Shared
from sliderspace.measure import control
from sliderspace.measure.effects import effects
from sliderspace.method.sweeps import FACTOR, Seen

LEAST = 0.1  # of a slider's effect on its factor: less cannot be told from none
REFERENCE = "reference"


def cells(asked: Asked) -> list[Cell]:
    """The sliders of each source on itself and on its targets; with a teacher also the teacher's on the model, and the
    model's on the teacher."""
    found: list[Cell] = []
    for seed in range(asked.seeds):
        for source, targets in asked.world.sources.items():
            for arm, drawn, of_teacher, by_teacher in _arms(asked, source, targets):
                model, own = asked.model(drawn, teacher=by_teacher), asked.model(source, teacher=of_teacher)
                space = asked.space(source, seed=seed, teacher=of_teacher)
                sets: dict[str, Pictures] = {}
                for part, what, noise in (
                    ("", model, "pictures"),
                    ("at home ", own, "pictures"),
                    (f"{REFERENCE} ", own, REFERENCE),
                ):
                    count = asked.world.transfer_seeds
                    sets[f"{part}own"] = Pictures(what, count, seed, noise, space=space, sliders="each")
                    sets[f"{part}base"] = Pictures(what, count, seed, noise)
                found.append(Cell(f"sliders of “{source}”", arm, seed, sets))
    return found


def _arms(asked: Asked, source: str, targets: tuple[str, ...]) -> list[tuple[str, str, bool, bool]]:
    """(arm, prompt drawn, whether the teacher has the sliders, whether it draws)."""
    arms = [("on itself", source, False, False), *((f"on “{t}”", t, False, False) for t in targets)]
    if asked.teacher:
        arms += [
            ("the teacher's, on the model", source, True, False),
            ("the model's, on the teacher", source, False, True),
        ]
    return arms


def measure(cell: Cell, seen: Mapping[str, Seen], shared: Shared) -> Row:
    """How sliders do where they are drawn, and in % of what they do at home.

    The direction of a slider is its mean move at home on seeds of their own (`reference`), as the judge sees it.
    """
    mean_KE = moves(seen, f"{REFERENCE} ", "judge").mean(axis=1)
    here, home = (moves(seen, part, "judge") for part in ("", "at home "))
    aligned, at_home = (_mean_alignment(delta_KSE, mean_KE) for delta_KSE in (here, home))
    row: Row = {
        "alignment": aligned,
        "alignment kept %": _percent(aligned, at_home),
        "consistency": float(np.mean([control.consistency(delta_SE) for delta_SE in here])),
    }
    return row | _factors(seen)


def moves(seen: Mapping[str, Seen], part: str, name: str) -> Array:
    """What sliders do [K, 2·S, …]: at +1 unit, and at −1 turned round, against the model alone on the same seeds."""
    base_SE, own = array(seen[f"{part}base"][name]), array(seen[f"{part}own"][name])
    own_K2SE = own.reshape(-1, 2, *base_SE.shape)
    return np.concatenate([own_K2SE[:, 0] - base_SE, base_SE - own_K2SE[:, 1]], axis=1)


def _mean_alignment(delta_KSE: Array, mean_KE: Array) -> float:
    return float(np.mean([control.alignment(d, v) for d, v in zip(delta_KSE, mean_KE, strict=True)]))


def _factors(seen: Mapping[str, Seen]) -> Row:
    """The effect of each slider on the true factor that it moves most at home (told by seeds of their own), and the
    share of it that is kept; nothing where the judge names no factor."""
    names = factors_of(seen["own"])
    if not names:
        return {}
    told_KF, home_KF, here_KF = (factor_effects(seen, part, names) for part in (f"{REFERENCE} ", "at home ", ""))
    largest_K1 = told_KF.argmax(axis=1)[:, None]
    home_K, here_K = (np.take_along_axis(found, largest_K1, axis=1)[:, 0] for found in (home_KF, here_KF))
    strong = home_K >= LEAST
    kept = _percent(float(here_K[strong].mean()), float(home_K[strong].mean())) if strong.any() else None
    return {"factor effect": float(here_K.mean()), "factor effect kept %": kept}


def factors_of(seen: Seen) -> list[str]:
    """The true factors that the judge names; none where it names none."""
    return sorted(name for name in seen if name.startswith(FACTOR))


def factor_effects(seen: Mapping[str, Seen], part: str, names: Sequence[str]) -> Array:
    """[K, F]: what each slider does to each factor."""
    return effects({name: _between_ends(seen[f"{part}own"], seen[f"{part}base"], name) for name in names})


def _between_ends(own: Seen, base: Seen, name: str) -> Array:
    """Changes [K, 1, S, values] of class probabilities from −1 to +1 unit."""
    p_K2SC = array(own[name]).reshape(-1, 2, *base[name].shape)
    return (p_K2SC[:, 0] - p_K2SC[:, 1])[:, None]


def _percent(part: float, whole: float) -> float | None:
    return 100 * part / whole if whole > 0 else None


TRANSFER = Experiment(
    "transfer",
    "Do sliders of one concept do the same on other concepts, and those of a teacher on its distilled form?",
    "sliders found for “person” act on police, athlete and dog; those of SDXL act on its distilled forms",
    (
        Column("alignment", "higher"),
        Column("alignment kept %", "higher", plotted=True),
        Column("consistency", "higher"),
        Column("factor effect", "higher"),
        Column("factor effect kept %", "higher", plotted=True),
    ),
    cells,
    measure,
)
