"""What a discovery yields: sliders with units; drawn with, swept, mixed."""

from sliderspace.space.space import SliderSpace

__all__ = ["SliderSpace"]
