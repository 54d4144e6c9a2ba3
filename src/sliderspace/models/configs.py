"""Configurations of models and encoders without their weights: shipped with the package, on this disk, or fetched."""

from importlib.resources import files
from pathlib import Path

from sliderspace.models.encoders.catalogue import ENCODERS
from sliderspace.models.sources import find, is_repo

SHIPPED = Path(str(files("sliderspace") / "assets" / "configs"))  # <owner>/<repository>/, as the Hub has them
JSONS = ("model_index.json", "config.json", "preprocessor_config.json", "*/*.json")


def configs_of(location: str) -> Path:
    """A model's or encoder's location -> the folder of its configurations. Raises BadInput where it cannot be had."""
    if location == "facenet":
        return SHIPPED / location
    source = ENCODERS[location].source if location in ENCODERS else location
    shipped = SHIPPED / source.partition("@")[0]
    return shipped if is_repo(source) and shipped.is_dir() else find(source, JSONS)
