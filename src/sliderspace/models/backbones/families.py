"""The pipeline classes of diffusers that are known here."""

import json
import re
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from sliderspace.core.errors import BadInput
from sliderspace.models.backbones.pipeline import PipelineBackbone

# A pipeline class of diffusers -> the backbone that runs it. A new family is a new file and a line here.
FAMILIES = {
    "StableDiffusionPipeline": "unet:UNetBackbone",
    "LatentConsistencyModelPipeline": "unet:UNetBackbone",
    "StableDiffusionXLPipeline": "unet:SDXLBackbone",
    "FluxPipeline": "flux:FluxBackbone",
    "ZImagePipeline": "zimage:ZImageBackbone",
    "StableDiffusion3Pipeline": "sd3:SD3Backbone",
    "QwenImagePipeline": "qwen_image:QwenImageBackbone",
    "Flux2KleinPipeline": "flux2:Flux2KleinBackbone",
    "Krea2Pipeline": "krea2:Krea2Backbone",
}


SINCE = {"Flux2KleinPipeline": "0.37", "Krea2Pipeline": "0.39"}  # the version of diffusers that first has it


def _version(text: str) -> tuple[int, int]:
    """ "0.42.1" -> 0, 42."""
    numbers = [int(part) for part in re.findall(r"\d+", text)[:2]]
    return numbers[0], (numbers[1:] or [0])[0]


def family_of(folder: Path) -> type[PipelineBackbone]:
    """The backbone class of a pipeline folder. Raises BadInput when the folder is none, damaged, or of a family not
    known here."""
    try:
        name = str(json.loads((folder / "model_index.json").read_text())["_class_name"])
    except FileNotFoundError as error:
        raise BadInput(f"{folder} is not the folder of a diffusers pipeline: it has no model_index.json") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{folder / 'model_index.json'} is damaged: it names no pipeline class") from error
    if name not in FAMILIES:
        raise BadInput(f"{folder} holds a {name}; known are {', '.join(FAMILIES)}")
    if _version(version("diffusers")) < _version(since := SINCE.get(name, "0")):
        raise BadInput(f"{folder} holds a {name}, which needs diffusers {since} or newer: pip install -U diffusers")
    module, _, backbone = FAMILIES[name].partition(":")
    return getattr(import_module(f"sliderspace.models.backbones.{module}"), backbone)
