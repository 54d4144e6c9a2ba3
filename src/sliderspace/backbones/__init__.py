"""Text-to-image models as six verbs, and the table that names them."""

from sliderspace.backbones.base import Backbone, Condition
from sliderspace.backbones.presets import PRESETS, Preset, device_for, load_backbone, preset_for, resolve

__all__ = ["PRESETS", "Backbone", "Condition", "Preset", "device_for", "load_backbone", "preset_for", "resolve"]
