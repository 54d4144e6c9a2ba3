"""Encoders by name, repository, folder or file."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from sliderspace.core.errors import BadInput
from sliderspace.models import sources
from sliderspace.models.encoders import facenet, judge, pixels, towers
from sliderspace.models.encoders.base import Encoder, Preprocessing, read_json

FILES = (
    "config.json",
    "preprocessor_config.json",
    "model.safetensors",
    "model-*.safetensors",
    "model.safetensors.index.json",
)
LOADERS = {
    **dict.fromkeys(towers.FAMILIES, towers.load),
    facenet.MODEL_TYPE: facenet.load,
    judge.MODEL_TYPE: judge.load,
    pixels.MODEL_TYPE: pixels.load,
}
# What json, transformers and torch raise for files that are broken or hold something else.
DAMAGED = (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, SafetensorError)
KINDS = "CLIP, dual encoders, SigLIP (fixed size), DINOv2, DINOv3 and FaceNet"


@dataclass(frozen=True)
class Known:
    """One encoder with a short name."""

    name: str
    source: str  # a Hub repository, or the address of a file
    revision: str  # its commit, or the file's SHA-256
    sees: str  # what it tells apart, and so what a discovery with it will find
    licence: str


ENCODERS = {
    known.name: known
    for known in (
        Known(
            "clip",
            "openai/clip-vit-large-patch14",
            "32bd64288804d66eefd0ccbe215aa642df71cc41",
            "what words say of a picture: subject, style, mood",
            "MIT",
        ),
        Known(
            "siglip",
            "google/siglip-base-patch16-224",
            "7fd15f0689c79d79e38b1c2e2e2370a7bf2761ed",
            "as clip, from other data and another loss: a judge for sliders that clip trained",
            "Apache-2.0",
        ),
        Known(
            "dinov2",
            "facebook/dinov2-base",
            "f9e44c814b77203eaa57a6bdbbd535f21ede1415",
            "form, layout and texture, without words",
            "Apache-2.0",
        ),
        Known(
            "facenet",
            facenet.URL,
            facenet.SHA256,
            "faces: features, age, expression; portraits only",
            "MIT; trained on VGGFace2, a set for research",
        ),
    )
}


def find_encoder(location: str) -> Path:
    """The folder of an encoder: a short name, `owner/name[@revision]` on the Hub, a folder, `asset:...`, or a file of
    FaceNet's weights.

    What is not on this machine is fetched; a file is converted once, to a folder beside it. Raises BadInput when there
    is none.
    """
    if location == "facenet":
        return facenet.fetch()
    if location in ENCODERS:
        return sources.fetch(ENCODERS[location].source, revision=ENCODERS[location].revision, patterns=FILES)
    check_there(location)
    folder = sources.find(location, FILES)
    if folder.is_file():
        beside = folder.with_suffix("")
        return beside if facenet.is_converted(beside) else facenet.convert(folder, beside)
    return folder


def check_there(location: str) -> None:
    """Raises BadInput for a location that is no short name, no repository, and nothing on this disk."""
    here = location.strip() and sources.resolve(location).exists()
    if location not in ENCODERS and not sources.is_repo(location) and not here:
        raise BadInput(
            f"no encoder '{location}': choose one of {', '.join(ENCODERS)}, or give a Hub repository (owner/name)\n"
            f"or the folder of a model of these kinds: {KINDS}"
        )


def load_encoder(
    folder: Path, *, identity: str, device: torch.device, dtype: torch.dtype, whole: bool = False
) -> Encoder:
    """The encoder of a local folder; `whole` as `Encoder` has it, but for faces, which are looked for in the middle.
    Raises BadInput when there is none, or its files are missing or damaged."""
    config, preprocessing = read_folder(folder)
    with explained(folder):
        tower, dim = LOADERS[config["model_type"]](folder, config, device, dtype)
        whole = whole and config["model_type"] != facenet.MODEL_TYPE
        return Encoder(tower, preprocessing, dim=dim, identity=identity, device=device, dtype=dtype, whole=whole)


def read_folder(folder: Path) -> tuple[dict[str, Any], Preprocessing]:
    """The configuration and preprocessing of an encoder folder. Raises BadInput when there is none, or of no kind known
    here."""
    if not folder.is_dir():
        raise BadInput(f"no encoder '{folder}': give the folder of a model of these kinds: {KINDS}")
    config = read_json(folder / "config.json")
    if str(config.get("model_type")) not in LOADERS:
        raise BadInput(f"{folder} holds a '{config.get('model_type')}' model; encoders known are {KINDS}")
    with explained(folder):
        return config, Preprocessing.read(folder)


@contextmanager
def explained(folder: Path) -> Generator[None]:
    """What loading a broken folder raises, as BadInput in one line."""
    try:
        yield
    except DAMAGED as error:
        raise BadInput(
            f"the encoder in {folder} cannot be loaded: {(str(error) or type(error).__name__).splitlines()[0]}"
        ) from error
