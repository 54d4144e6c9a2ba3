"""Folders and files of this machine as settings hold them: whole, so that a run finds them from anywhere."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from sliderspace.core.errors import BadInput
from sliderspace.models.backbones import PRESETS
from sliderspace.models.backbones.lora import split
from sliderspace.models.encoders.catalogue import ENCODERS

FOLDERS = ("backbone", "encoder", "decoder", "lora", "images")  # settings that may name a folder or file
# The names that a setting knows. One of them is never a folder that happens to be called so; `./mini` is.
KNOWN: Mapping[str, Collection[str]] = {"backbone": PRESETS, "encoder": ENCODERS}


def with_whole_places(settings: Mapping[str, Any], called: Callable[[str], str] = str) -> dict[str, Any]:
    """The settings with each folder or file that is there by its full path; all else, such as a preset or a
    repository, as it is. A Path is never anything but a place.

    BadInput for what can be neither; `called` gives a setting the name that it has for the user.
    """
    return {**settings, **{name: _whole(name, settings[name], called) for name in FOLDERS if settings.get(name)}}


def _whole(name: str, value: object, called: Callable[[str], str]) -> object:
    if not isinstance(value, str | Path) or value in KNOWN.get(name, ()):
        return value
    place, strength = split(str(value)) if name == "lora" else (str(value), "")
    try:
        folder = Path(place).expanduser()
        return str(folder.resolve()) + strength if isinstance(value, Path) or folder.exists() else value
    except (OSError, RuntimeError, ValueError) as error:  # too long, or the home of nobody
        raise BadInput(f"{called(name)}: '{place[:60]}' is neither a folder nor the name of a model") from error
