"""Image encoders: images in [0, 1] -> unit vectors. Each owns its range, size, resampling and normalisation."""

from sliderspace.models.encoders.base import Encoder
from sliderspace.models.encoders.catalogue import ENCODERS, find_encoder, load_encoder

__all__ = ["ENCODERS", "Encoder", "find_encoder", "load_encoder"]
