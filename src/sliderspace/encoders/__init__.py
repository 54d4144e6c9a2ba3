"""Image encoders: images in [0, 1] -> unit vectors. Each owns its range, size, resampling and normalisation."""

from sliderspace.encoders.base import Encoder, load_encoder

__all__ = ["Encoder", "load_encoder"]
