"""How squarely a slider moves its pictures toward what a text says, in the space of a CLIP, and what chance reaches.

φ of a picture and t of a text are unit vectors of one space. What pictures have in common is no part of their changes,
and what texts have in common no part of a text less the mean of all. The cosine of the two says how much of a change a
text explains. K sliders, S seeds, M strengths, W texts, N pictures, D dimensions.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sliderspace.core.arrays import Array
from sliderspace.core.seeds import generator_for

DRAWS = 4000  # random directions
# Share of them that a sure name fits better than. Words fit sliders trained toward random directions better than these:
# of 48 in three spaces three got a sure name at 0.975, and two at 0.998, all in one space.
LEVEL = 0.9995
FAR_LEVEL = 0.75  # share of them, each turned from −1 to +1 unit, that a sure name is moved farther than


def slopes(z_SMD: Array, strengths_M: Array) -> Array:
    """Change of φ for one unit [S, D], by least squares over the strengths."""
    centred_M = strengths_M - strengths_M.mean()
    return np.einsum("m,smd->sd", centred_M, z_SMD) / (centred_M @ centred_M)


def cosines(a_ND: Array, b_WD: Array) -> Array:
    """[N, W], 0 for vectors of no length."""
    lengths_NW = np.linalg.norm(a_ND, axis=1)[:, None] * np.linalg.norm(b_WD, axis=1)
    return np.divide(a_ND @ b_WD.T, lengths_NW, out=np.zeros_like(lengths_NW), where=lengths_NW > 1e-12)


@dataclass(frozen=True)
class Moves:
    """What sliders do to φ: `change_KSD` a unit on each seed, and `base_ND` of the model's own pictures."""

    change_KSD: Array
    base_ND: Array
    seed: int

    @property
    def mean_KD(self) -> Array:
        """Mean change over the seeds."""
        return self.change_KSD.mean(axis=1)

    @cached_property
    def _pictures(self) -> Array:
        return self.base_ND - self.base_ND.mean(axis=0)

    @cached_property
    def _random(self) -> Array:
        """Random directions of the same pictures [DRAWS, D]: sums of as many differences of two as there are seeds."""
        count = min(self.change_KSD.shape[1], len(self.base_ND) // 2)
        signs_N = np.repeat([-1.0, 1.0, 0.0], [count, count, len(self.base_ND) - 2 * count])
        rng = generator_for(self.seed, "label control", 0)
        return rng.permuted(np.tile(signs_N, (DRAWS, 1)), axis=1) @ self._pictures

    def toward(self, text_WD: Array) -> Array:
        """Cosine [K, W] of each slider's mean change with the direction of each text."""
        return cosines(self.mean_KD, text_WD)

    def chance(self, text_WD: Array) -> Array:
        """The same of random directions [DRAWS, W]: what no slider made."""
        return cosines(self._random, text_WD)

    def reach(self, text_WD: Array) -> Array:
        """How far each slider moves what a text says from −1 to +1 unit [K, W], in standard deviations of it among the
        model's own pictures."""
        return self._along(2 * self.mean_KD, text_WD)

    def chance_reach(self, text_WD: Array) -> Array:
        """The same of random directions [DRAWS, W], a unit being what it is for sliders: one standard deviation along
        them."""
        unit_RD = self._random / np.linalg.norm(self._random, axis=1, keepdims=True).clip(1e-12)
        sigma_R = (self._pictures @ unit_RD.T).std(axis=0)
        return self._along(2 * sigma_R[:, None] * unit_RD, text_WD)

    def _along(self, move_ND: Array, text_WD: Array) -> Array:
        return move_ND @ text_WD.T / (self._pictures @ text_WD.T).std(axis=0).clip(1e-12)
