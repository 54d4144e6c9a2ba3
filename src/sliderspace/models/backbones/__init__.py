"""Text-to-image models as a few verbs, and the table that names them."""

from sliderspace.core.settings import Targets
from sliderspace.models.backbones.base import Backbone, Condition
from sliderspace.models.backbones.load import device_for, load_backbone
from sliderspace.models.backbones.presets import PRESETS, Preset, preset_for

__all__ = ["PRESETS", "Backbone", "Condition", "Preset", "Targets", "device_for", "load_backbone", "preset_for"]
