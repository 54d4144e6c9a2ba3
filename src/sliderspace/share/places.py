"""Names in place of local folders: nothing that leaves the machine says where a thing lies on it."""

import hashlib
import re
from pathlib import Path

from sliderspace.core.settings import Settings
from sliderspace.models.backbones import PRESETS
from sliderspace.models.backbones.lora import split
from sliderspace.models.encoders.catalogue import ENCODERS
from sliderspace.models.identity import identity_of, source_identity
from sliderspace.models.sources import COMMIT, is_repo
from sliderspace.space.space import ELSEWHERE

WORDS = {"", "auto", "full", *PRESETS, *ENCODERS}  # what a setting may say instead of a place


def shareable(settings: Settings) -> Settings:
    """The settings with each local folder of a model, encoder, decoder or of pictures named `local:NAME@DIGEST`."""
    return settings.model_copy(
        update={
            "backbone": place_name(settings.backbone),
            "encoder": place_name(settings.encoder),
            "decoder": place_name(settings.decoder),
            "lora": _lora_name(settings.lora),
            # Pictures are a person's own, and nothing of them goes along: neither needs their digest.
            "images": place_name(settings.images, digest=False),
        }
    )


def _lora_name(lora: str) -> str:
    place, strength = split(lora)
    return place_name(place) + strength


def place_name(location: str, *, digest: bool = True) -> str:
    """A preset, a Hub repository or a shipped asset as it is; a folder or file as `local:NAME@DIGEST`, without its
    path. A snapshot in the Hub's cache is its repository and commit."""
    named = location in WORDS or location.startswith(("asset:", ELSEWHERE))
    if named or (is_repo(location) and not location.startswith(".")):
        return location
    path = Path(location).expanduser().resolve()
    if path.parent.name == "snapshots" and COMMIT.fullmatch(path.name):
        return f"{identity_of(path).partition('@')[0]}@{path.name}"
    name = re.sub(r"[^\w. -]", "-", path.name)
    found = _digest(path) if digest else ""
    return f"{ELSEWHERE}{name}@{found}" if found else f"{ELSEWHERE}{name}"


def pathless(location: str) -> str:
    """A place as it was typed, unless it is a full path: of that its last part."""
    return Path(location).name if Path(location).expanduser().is_absolute() else location


def _digest(path: Path) -> str:
    if path.is_dir():
        return identity_of(path)
    if not path.is_file():  # it was removed since
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:16]


def short_name(location: str) -> str:
    """A model's name for people and for file names: "sdxl", or the last part of a repository's or folder's name."""
    name = place_name(location, digest=False).removeprefix(ELSEWHERE).partition("@")[0].rpartition("/")[2]
    return name.removesuffix(".safetensors")


def base_identity(backbone: str) -> str:
    """What tells this version of a base model from others: its repository and commit, or its name and digest, and the
    weights put into it. No network is asked: a repository whose commit is not pinned stands for itself."""
    preset = PRESETS.get(backbone)
    if preset is None:
        return place_name(backbone)
    pinned = preset.revision or not is_repo(preset.location)
    found = source_identity(preset.source) if pinned else preset.location
    name = found if is_repo(preset.location) else f"{backbone}@{found}"
    return f"{name} with {preset.weights}" if preset.weights else name


def note_on(settings: Settings) -> str:
    """What somebody has to know who draws with these settings here; empty where the base model can be found."""
    if not settings.backbone.startswith(ELSEWHERE):
        return ""
    return (
        f"the base model is '{short_name(settings.backbone)}', a folder of another machine: name yours with --backbone"
    )
