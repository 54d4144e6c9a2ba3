"""Axes that no decomposition found, to see what a score is worth: random ones, and those of single images."""

import numpy as np

from sliderspace.core.arrays import Array
from sliderspace.core.seeds import generator_for
from sliderspace.core.settings import Control
from sliderspace.method.directions import NOISE, Directions


def chosen_images(seed: int, images: int, sliders: int) -> list[int]:
    """One image more than sliders, out of `images`: what axes of single images, and customised sliders, are made of."""
    return generator_for(seed, "control axes", 0).choice(images, sliders + 1, replace=False).tolist()


def control_axes(control: Control, seed: int, finished_ND: Array, mean_D: Array, sliders: int) -> Array:
    """Axes [K, D]: random, from one finished image to another ("differences"), or from the mean to an image
    ("images")."""
    if control == "random":
        return generator_for(seed, "control axes", 1).standard_normal((sliders, finished_ND.shape[1]))
    chosen_ND = finished_ND[chosen_images(seed, len(finished_ND), sliders)]
    return np.diff(chosen_ND, axis=0) if control == "differences" else chosen_ND[:-1] - mean_D


def own_images(found: Directions, seed: int, finished_ND: Array) -> list[int]:
    """The image that each direction was made of, where `found` are those along the axes "images"."""
    chosen = chosen_images(seed, len(finished_ND), len(found.components_KD))
    axes_KD = control_axes("images", seed, finished_ND, found.mean_TD[-1], len(found.components_KD))
    # They were made orthogonal in the order chosen, and then sorted: none has a part along the axes before its own.
    first_K = (np.abs(found.components_KD @ axes_KD.T) > NOISE / 2).argmax(axis=1)
    return [chosen[k] for k in first_K]
