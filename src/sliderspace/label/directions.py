"""How squarely a slider moves its pictures toward what a text says, in the space of a CLIP, and what chance reaches.

φ of a picture and t of a text are unit vectors of one space. Pictures of different seeds answer the same slider
differently; where that noise has the covariance C, the direction of t that is found best against it is C⁻¹t (the
matched filter, Fisher's discriminant). So all vectors are multiplied by C^(-1/2), after which noise is round and the
cosine says how much of a change a text explains. K sliders, S seeds, M strengths, W texts, N pictures, D dimensions.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sliderspace.core.arrays import Array
from sliderspace.core.seeds import generator_for

SHRINK = 1.0  # of the mean variance, added to each: there are fewer changes than dimensions
DRAWS = 2000  # random directions
LEVEL = 0.975  # share of them that a sure name fits better than; at 0.95 one random direction in fourteen got one
FAR_LEVEL = 0.75  # share of them, each turned from −1 to +1 unit, that a sure name is moved farther than


def slopes(z_SMD: Array, strengths_M: Array) -> Array:
    """Change of φ for one unit [S, D], by least squares over the strengths."""
    centred_M = strengths_M - strengths_M.mean()
    return np.einsum("m,smd->sd", centred_M, z_SMD) / (centred_M @ centred_M)


def whitening(change_KSD: Array) -> Array:
    """C^(-1/2) [D, D] of the sliders' changes about their means over the seeds, shrunk toward a round one."""
    noise_ND = (change_KSD - change_KSD.mean(1, keepdims=True)).reshape(-1, change_KSD.shape[-1])
    C_DD = noise_ND.T @ noise_ND / len(noise_ND)
    values_D, axes_DD = np.linalg.eigh(C_DD)
    shrunk_D = values_D.clip(0) + SHRINK * max(float(values_D.mean()), 1e-12)
    return (axes_DD / np.sqrt(shrunk_D)) @ axes_DD.T


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

    @cached_property
    def _round(self) -> Array:
        return whitening(self.change_KSD)

    @cached_property
    def _pictures(self) -> Array:
        return (self.base_ND - self.base_ND.mean(axis=0)) @ self._round

    @cached_property
    def _random(self) -> Array:
        """Random directions of the same pictures [DRAWS, D], noise made round: sums of as many differences of two as
        there are seeds."""
        count = min(self.change_KSD.shape[1], len(self.base_ND) // 2)
        rng = generator_for(self.seed, "label control", 0)
        order = rng.permuted(np.tile(np.arange(len(self.base_ND)), (DRAWS, 1)), axis=1)[:, : 2 * count]
        ends = self._pictures[order].reshape(DRAWS, 2, count, -1).sum(axis=2)
        return ends[:, 1] - ends[:, 0]

    def toward(self, text_WD: Array) -> Array:
        """Cosine [K, W] of each slider's mean change with the direction of each text."""
        return cosines(self.change_KSD.mean(axis=1) @ self._round, text_WD @ self._round)

    def chance(self, text_WD: Array) -> Array:
        """The same of random directions [DRAWS, W]: what no slider made."""
        return cosines(self._random, text_WD @ self._round)

    def reach(self, text_WD: Array) -> Array:
        """How far each slider moves what a text says from −1 to +1 unit [K, W], in standard deviations of it among the
        model's own pictures."""
        return self._along(2 * self.change_KSD.mean(axis=1) @ self._round, text_WD)

    def chance_reach(self, text_WD: Array) -> Array:
        """The same of random directions [DRAWS, W], a unit being what it is for sliders: one standard deviation along
        them."""
        unit_RD = self._random / np.linalg.norm(self._random, axis=1, keepdims=True).clip(1e-12)
        sigma_R = (self._pictures @ unit_RD.T).std(axis=0)
        return self._along(2 * sigma_R[:, None] * unit_RD, text_WD)

    def _along(self, move_ND: Array, text_WD: Array) -> Array:
        axis_WD = text_WD @ self._round
        return move_ND @ axis_WD.T / (self._pictures @ axis_WD.T).std(axis=0).clip(1e-12)
