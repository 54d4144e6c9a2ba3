"""Text-to-image models as a few verbs, and the table that names them."""

from sliderspace.backbones.base import Backbone, Condition, Targets
from sliderspace.backbones.load import device_for, load_backbone
from sliderspace.backbones.presets import PRESETS, Preset, preset_for

__all__ = ["PRESETS", "Backbone", "Condition", "Preset", "Targets", "device_for", "load_backbone", "preset_for"]
