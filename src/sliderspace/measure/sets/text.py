"""Features of images and of their prompts -> CLIP-score (Hessel et al. 2021)."""

import numpy as np
import numpy.typing as npt

from sliderspace.measure.control import cosines


def clip_score(image_ND: npt.ArrayLike, text_ND: npt.ArrayLike) -> float:
    """Mean of max(100·cos(image, its text), 0), 0 … 100. Name the CLIP model beside the number: each has its own
    range."""
    return float(np.maximum(100 * cosines(image_ND, text_ND), 0).mean())
