"""The control measures of a finished space, on finished images of seeds that neither PCA nor training nor calibration saw.

The same measures are taken through two pairs of eyes: the encoder that trained the sliders, and a judge that did not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sliderspace.calibration import Sweep, both_ways, from_base
from sliderspace.directions import Directions
from sliderspace.measure import control
from sliderspace.measure.intervals import bootstrap

Array = npt.NDArray[np.float64]
SIZES = (1.0, 2.0, 3.0)  # natural units, both signs
SCALES = both_ways(SIZES)
ALL = slice(None)
Chosen = npt.NDArray[np.intp] | slice


def ends(values_SMX: Array, size: float = 1.0) -> Array:
    """Changes [2, S, X] at +size and at −size units, the latter turned round so that both should point the same way."""
    plus, minus = (int(np.flatnonzero(s == SCALES)[0]) for s in (size, -size))
    change = from_base(values_SMX)
    return np.stack([change[:, plus], -change[:, minus]])


@dataclass(frozen=True)
class View:
    """What one encoder sees: every slider's sweep at SCALES natural units, the directions in its own space, and base images.

    `manifold_ND` and `fresh_ND` are finished images of the model alone, of other seeds than the sweeps and than each other.
    """

    encoder: str
    z_KSMD: Array
    v_KD: Array
    manifold_ND: Array
    fresh_ND: Array

    @property
    def seeds(self) -> int:
        return self.z_KSMD.shape[1]

    def delta(self, size: float = 1.0, seeds: Chosen = ALL) -> Array:
        """Δφ [K, 2S, D] at ±size units."""
        return np.stack([ends(z[seeds], size).reshape(-1, z.shape[-1]) for z in self.z_KSMD])

    @cached_property
    def _projection_KSM(self) -> Array:
        return np.stack([from_base(z) @ v for z, v in zip(self.z_KSMD, self.v_KD, strict=True)])

    @cached_property
    def _real_KSM(self) -> Array:
        """1 where an image lies among the model's own, over the share of fresh base images that do; NaN where not even one does."""
        own = control.Manifold(self.manifold_ND)
        reference = float(own.inside(self.fresh_ND).mean())
        inside = own.inside(self.z_KSMD.reshape(-1, self.z_KSMD.shape[-1])).reshape(self.z_KSMD.shape[:-1])
        return inside / reference if reference else np.full(inside.shape, np.nan)

    def leakage(self, seeds: Chosen = ALL) -> Array:
        return control.leakage(self.delta(seeds=seeds), self.v_KD)

    def measures(self, seeds: Chosen = ALL) -> dict[str, Array]:
        """Measure -> [K]; at ±1 unit unless it says otherwise. `seeds` chooses among those drawn, for intervals."""
        delta_KSD, leakage_KK = self.delta(seeds=seeds), self.leakage(seeds)
        own, real = np.diag(leakage_KK), self._real_KSM[:, seeds]
        return {
            "alignment": np.array([control.alignment(d, v) for d, v in zip(delta_KSD, self.v_KD, strict=True)]),
            "consistency": np.array([control.consistency(d) for d in delta_KSD]),
            "selectivity": control.selectivity(leakage_KK),
            "monotone_share": control.monotone_share(self._projection_KSM[:, seeds], SCALES),
            "realism": real[..., np.abs(SCALES) == 1].mean((1, 2)),
            "realism_2": real[..., np.abs(SCALES) == 2].mean((1, 2)),
            "own_direction_largest": ((own > 0) & (np.abs(leakage_KK).argmax(1) == np.arange(len(own)))).astype(float),
        }

    def against(self, v_KD: Array) -> dict[str, float]:
        """Mean alignment and selectivity of the same sweeps on other directions, and how many sliders move theirs most."""
        other = replace(self, v_KD=v_KD).measures()
        return {key: float(other[key].mean()) for key in ("alignment", "selectivity", "own_direction_largest")}

    def consistency_by_size(self) -> Array:
        """[K, sizes]."""
        return np.array([[control.consistency(d) for d in self.delta(size)] for size in SIZES]).T

    def spans(self) -> Array:
        """Usable span [K, 2] in units: up to where a picture is as unlike its start as two pictures of different seeds are."""
        apart = np.linalg.norm(self.fresh_ND[:, None] - self.fresh_ND[None], axis=-1)
        tau = float(np.median(apart[np.triu_indices(len(apart), 1)]))
        distance_KSM = np.stack([np.linalg.norm(from_base(z), axis=-1) for z in self.z_KSMD])
        return control.usable_span(self._projection_KSM, distance_KSM, SCALES, tau)


def training_view(found: Sequence[Sweep], manifold_ND: Array, fresh_ND: Array, directions: Directions) -> View:
    """What the encoder that found the directions sees."""
    return View(directions.encoder, np.stack([s.z_SMD for s in found]), directions.components_KD, manifold_ND, fresh_ND)


def judges_view(found: Sequence[Sweep], trained: View, judge: str, manifold_NE: Array, fresh_NE: Array) -> View | None:
    """What the judge sees, of the same base images and sweeps; None where the sweeps were not shown to one."""
    if any(s.judge_SMD is None for s in found):
        return None
    v_KE = control.carried_over(trained.v_KD, trained.manifold_ND, manifold_NE)
    return View(judge, np.stack([s.judge_SMD for s in found if s.judge_SMD is not None]), v_KE, manifold_NE, fresh_NE)


def measures(
    trained: View, judged: View | None, directions: Directions, unit_K: Array, reached_K: Sequence[bool], factors: dict[str, Any] | None
) -> dict[str, Any]:
    """`measures.json`: one entry a slider, their means, and the leakage matrix (rows: sliders, columns: directions).

    Realism is the judge's where there is one: an encoder cannot see where its own training led images astray.
    """
    table, seen = trained.measures(), None if judged is None else judged.measures()
    if seen is not None:
        table |= {key: seen[key] for key in ("realism", "realism_2")}
    table["explained_variance_ratio"], table["unit"] = directions.explained_variance_ratio_K, unit_K
    table["unit_reached"] = np.array(reached_K, dtype=float)
    sizes_KM, span_K2 = trained.consistency_by_size(), (judged or trained).spans()
    rows = rows_of(table)
    for k, row in enumerate(rows):
        row |= {"consistency_by_size": sizes_KM[k].tolist(), "span": span_K2[k].tolist(), "unit_reached": bool(row["unit_reached"])}
    return {
        "sliders": rows,
        "mean": means_of(table) | {"effective_rank": control.effective_rank(trained.delta())},
        "leakage": trained.leakage().tolist(),
        "sizes": list(SIZES),
        "seeds": trained.seeds,
        "encoder": trained.encoder,
        "realism_encoder": (judged or trained).encoder,
        "judge": judged and seen and {**table_of(judged, seen), "encoder": judged.encoder},
        "factors": factors,
    }


def table_of(view: View, seen: Mapping[str, Array]) -> dict[str, Any]:
    return {"sliders": rows_of(seen), "mean": means_of(seen), "leakage": view.leakage().tolist()}


def rows_of(table: Mapping[str, Array]) -> list[dict[str, Any]]:
    """One entry a slider of measures [K]."""
    rows = [{"index": k, **{key: float(values[k]) for key, values in table.items()}} for k in range(len(table["alignment"]))]
    return [{**row, "own_direction_largest": bool(row["own_direction_largest"])} for row in rows]


def means_of(table: Mapping[str, Array]) -> dict[str, float]:
    return {key: float(values.mean()) for key, values in table.items()}


def with_intervals(view: View) -> dict[str, Any]:
    """The same tables with 95 % intervals over seeds: every number becomes {"value", "low", "high"}.

    Images of one seed resemble each other, so seeds are drawn again, not images (`intervals.bootstrap`). A seed drawn twice agrees with
    itself, which lifts consistency: so the spread of the resamples is laid about the value, not about their own middle.
    """
    table = view.measures()
    value, edges = _stacked(table), bootstrap(lambda seeds: _stacked(view.measures(seeds)), view.seeds, centred=True)
    top = {key: np.inf if key in UNBOUNDED else 1.0 for key in table}
    named = {key: (value[i], *(np.minimum(value[i] + end[i], top[key]) for end in edges)) for i, key in enumerate(table)}
    whole = {key: {name: float(part[-1]) for name, part in zip(PARTS, parts, strict=True)} for key, parts in named.items()}
    rows = [
        {"index": k} | {key: {name: float(part[k]) for name, part in zip(PARTS, parts, strict=True)} for key, parts in named.items()}
        for k in range(len(view.z_KSMD))
    ]
    return {"encoder": view.encoder, "sliders": rows, "mean": whole, "leakage": view.leakage().tolist()}


PARTS = ("value", "low", "high")
UNBOUNDED = ("selectivity", "realism", "realism_2")  # all other measures are at most 1


def _stacked(table: Mapping[str, Array]) -> Array:
    """Measures × (sliders and their mean)."""
    return np.stack([np.append(values, values.mean()) for values in table.values()])
