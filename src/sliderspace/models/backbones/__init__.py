"""Text-to-image models as a few verbs, and the table that names them."""

from sliderspace.models.backbones.base import Backbone, Condition
from sliderspace.models.backbones.preset import Preset
from sliderspace.models.backbones.presets import PRESETS, preset_for

__all__ = ["PRESETS", "Backbone", "Condition", "Preset", "preset_for"]
