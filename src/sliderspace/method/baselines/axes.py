"""Axes that no decomposition found, to see what a score is worth: random ones, and those of single images."""

import numpy as np

from sliderspace.core.arrays import Array
from sliderspace.core.seeds import generator_for
from sliderspace.core.settings import Control


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
