"""Sweeps on held-out seeds as one encoder sees them: the one that trained the sliders, or a judge that did not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array
from sliderspace.measure import control
from sliderspace.method.directions import Directions
from sliderspace.method.sweeps import Sweep, both_ways, from_base

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
    """What one encoder sees: every slider's sweep at SCALES natural units, the directions in its own space, and base
    images.

    `manifold_ND` and `fresh_ND` are finished images of the model alone, of other seeds than the sweeps and than each
    other.
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
        """1 where an image lies among the model's own, over the share of fresh base images that do; NaN where not even
        one does."""
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
        """Mean alignment and selectivity of the same sweeps on other directions, and how many sliders move theirs
        most."""
        other = replace(self, v_KD=v_KD).measures()
        return {key: float(other[key].mean()) for key in ("alignment", "selectivity", "own_direction_largest")}

    def consistency_by_size(self) -> Array:
        """[K, sizes]."""
        return np.array([[control.consistency(d) for d in self.delta(size)] for size in SIZES]).T

    def spans(self) -> Array:
        """Usable span [K, 2] in units: up to where a picture is as unlike its start as two pictures of different seeds
        are."""
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
