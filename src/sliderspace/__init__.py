"""Discover what a text-to-image model can vary about a prompt, and turn each direction into a slider."""

from importlib import import_module
from typing import Any

# Loaded when first named, so that `import sliderspace` and the command line's --help do not wait for torch.
PUBLIC = {
    "discover": "sliderspace.api",
    "SliderSpace": "sliderspace.space",
    "export": "sliderspace.share.export",
    "export_mix": "sliderspace.share.export",
    "import_space": "sliderspace.share.importing",
    "delayed_start": "sliderspace.share.delayed_start",
    "SliderBank": "sliderspace.method.sliders",
    "Directions": "sliderspace.method.directions",
    "Moments": "sliderspace.method.moments",
    "Settings": "sliderspace.core.settings",
    "Speed": "sliderspace.core.settings",
    "Backbone": "sliderspace.models.backbones",
    "load_backbone": "sliderspace.models.load",
    "Encoder": "sliderspace.models.encoders",
    "load_encoder": "sliderspace.models.encoders",
    "SliderSpaceError": "sliderspace.core.errors",
}
__all__ = list(PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'sliderspace' has no attribute '{name}'")
    return getattr(import_module(PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(globals().keys() | PUBLIC.keys())
