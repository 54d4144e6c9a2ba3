"""Discover what a text-to-image model can vary about a prompt, and turn each direction into a slider."""

from importlib import import_module
from typing import Any

# Loaded when first named, so that `import sliderspace` and the command line's --help do not wait for torch.
PUBLIC = {
    "discover": "sliderspace.api",
    "SliderSpace": "sliderspace.space",
    "export": "sliderspace.formats",
    "import_space": "sliderspace.imports",
    "delayed_start": "sliderspace.callbacks",
    "SliderBank": "sliderspace.sliders",
    "Directions": "sliderspace.directions",
    "Moments": "sliderspace.directions",
    "Settings": "sliderspace.config",
    "Speed": "sliderspace.config",
    "Backbone": "sliderspace.backbones",
    "load_backbone": "sliderspace.backbones",
    "Encoder": "sliderspace.encoders",
    "load_encoder": "sliderspace.encoders",
    "SliderSpaceError": "sliderspace.errors",
}
__all__ = list(PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'sliderspace' has no attribute '{name}'")
    return getattr(import_module(PUBLIC[name]), name)
