"""Sweeps on held-out seeds in the embedding of one encoder: the training encoder, or a judge that trained nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.measure import control
from sliderspace.measure.results import Control
from sliderspace.measure.sets.manifold import Manifold
from sliderspace.method.directions import Directions
from sliderspace.method.sweeps import Sweep, both_ways, from_base

ALL = slice(None)
NEAREST = 3  # neighbours that the balls of realism reach to
Chosen = npt.NDArray[np.intp] | slice


def ends(sizes: Sequence[float], size: float = 1.0) -> tuple[int, int]:
    """Positions of +size and −size in a sweep over `both_ways(sizes)`. BadInput where that size was not drawn."""
    if size not in sizes:
        raise BadInput(f"sliders are measured at ±{size:g} unit: add it to the sizes {tuple(sizes)}")
    scales_M = both_ways(sizes)
    return int(np.flatnonzero(scales_M == size)[0]), int(np.flatnonzero(scales_M == -size)[0])


def moved(values_SMX: Array, sizes: Sequence[float], size: float = 1.0) -> Array:
    """Changes [2, S, X] at +size and at −size units, the latter turned round so that both should point the same way."""
    plus, minus = ends(sizes, size)
    change_SMX = from_base(values_SMX)
    return np.stack([change_SMX[:, plus], -change_SMX[:, minus]])


@dataclass(frozen=True)
class View:
    """Embeddings of one encoder: every slider's sweep at ±`sizes` natural units and 0, the directions, and base images.

    `manifold_ND` and `fresh_ND` are finished images of the model alone, of other seeds than the sweeps and than each
    other; `repeated` where the same images stand in them several times, so that nothing can be said of realism: about
    an image and its copies is no room for another.
    """

    encoder: str
    sizes: tuple[float, ...]  # ascending, 1 among them
    z_KSMD: Array
    v_KD: Array
    manifold_ND: Array
    fresh_ND: Array
    repeated: bool = False

    @property
    def scales_M(self) -> Array:
        return both_ways(self.sizes)

    @property
    def seeds(self) -> int:
        return self.z_KSMD.shape[1]

    def delta(self, size: float = 1.0, seeds: Chosen = ALL) -> Array:
        """Δφ [K, 2S, D] at ±size units."""
        return np.stack([moved(z[seeds], self.sizes, size).reshape(-1, z.shape[-1]) for z in self.z_KSMD])

    @cached_property
    def _projection_KSM(self) -> Array:
        return np.stack([from_base(z) @ v for z, v in zip(self.z_KSMD, self.v_KD, strict=True)])

    @cached_property
    def _real_KSM(self) -> Array:
        """1 where an image lies among the model's own, over the share of fresh base images that do; NaN where not even
        one does, or where the model's own are too few to tell, or the same ones over and over."""
        if self.repeated or len(self.manifold_ND) <= NEAREST:
            return np.full(self.z_KSMD.shape[:-1], np.nan)
        own = Manifold(self.manifold_ND, NEAREST)
        reference = float(own.inside(self.fresh_ND).mean())
        inside = own.inside(self.z_KSMD.reshape(-1, self.z_KSMD.shape[-1])).reshape(self.z_KSMD.shape[:-1])
        return inside / reference if reference else np.full(inside.shape, np.nan)

    def _real(self, size: float, seeds: Chosen) -> Array:
        """[K]: realism at ±size units; NaN where that size was not drawn."""
        if size not in self.sizes:
            return np.full(len(self.z_KSMD), np.nan)
        return self._real_KSM[:, seeds][..., np.abs(self.scales_M) == size].mean((1, 2))

    def leakage(self, seeds: Chosen = ALL) -> Array:
        return control.leakage(self.delta(seeds=seeds), self.v_KD)

    def measures(self, seeds: Chosen = ALL) -> dict[str, Array]:
        """Measure -> [K]; at ±1 unit unless it says otherwise. `seeds` chooses among those drawn, for intervals."""
        delta_KSD, leakage_KK = self.delta(seeds=seeds), self.leakage(seeds)
        first_K = (np.diag(leakage_KK) > 0) & (np.abs(leakage_KK).argmax(1) == np.arange(len(leakage_KK)))
        return {
            "alignment": np.array([control.alignment(d, v) for d, v in zip(delta_KSD, self.v_KD, strict=True)]),
            "consistency": np.array([control.consistency(d) for d in delta_KSD]),
            "selectivity": control.selectivity(leakage_KK),
            "monotone_share": control.monotone_share(self._projection_KSM[:, seeds], self.scales_M),
            "realism": self._real(1.0, seeds),
            "realism_2": self._real(2.0, seeds),
            "own_direction_largest": first_K.astype(float),
        }

    def against(self, v_KD: Array) -> Control:
        """Mean alignment and selectivity of the same sweeps on other directions, and the share of sliders that move
        theirs most."""
        other = replace(self, v_KD=v_KD).measures()
        return Control.model_validate({key: other[key].mean() for key in Control.model_fields})

    def consistency_by_size(self) -> Array:
        """[K, sizes]."""
        return np.array([[control.consistency(d) for d in self.delta(size)] for size in self.sizes]).T

    def spans(self) -> Array:
        """Usable span [K, 2] in units: up to where a picture is as unlike its start as two pictures of different seeds
        are."""
        apart = np.linalg.norm(self.fresh_ND[:, None] - self.fresh_ND[None], axis=-1)
        tau = float(np.median(apart[np.triu_indices(len(apart), 1)]))
        distance_KSM = np.stack([np.linalg.norm(from_base(z), axis=-1) for z in self.z_KSMD])
        return control.usable_span(self._projection_KSM, distance_KSM, self.scales_M, tau)


def training_view(
    found: Sequence[Sweep],
    sizes: tuple[float, ...],
    manifold_ND: Array,
    fresh_ND: Array,
    directions: Directions,
    *,
    repeated: bool = False,
) -> View:
    """Sweeps over `sizes` in the embedding of the encoder that found the directions."""
    z_KSMD = np.stack([s.z_SMD for s in found])
    return View(directions.encoder, sizes, z_KSMD, directions.components_KD, manifold_ND, fresh_ND, repeated)


def judges_view(found: Sequence[Sweep], trained: View, judge: str, manifold_NE: Array, fresh_NE: Array) -> View | None:
    """The same base images and sweeps in the judge's embedding; None where the sweeps were not shown to one."""
    z_KSME = [s.judge_SMD for s in found if s.judge_SMD is not None]
    if len(z_KSME) < len(found):
        return None
    v_KE = control.carried_over(trained.v_KD, trained.manifold_ND, manifold_NE)
    return View(judge, trained.sizes, np.stack(z_KSME), v_KE, manifold_NE, fresh_NE, trained.repeated)
