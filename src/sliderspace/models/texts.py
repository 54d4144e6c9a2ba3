"""Prompts -> encoded prompts, kept in a file: text encoders are often the largest part of a model."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sliderspace.models.backbones.base import Backbone, Condition
from sliderspace.storage.files import fingerprint, is_done, load_tensors, save_tensors

SCHEMA = 2  # of what a file holds


def encoded(
    path: Path, prompts: Sequence[str], identity: str, device: torch.device, backbone: Callable[[], Backbone]
) -> Condition:
    """The condition of some prompts, from `path` where it holds just these for this model, else made and kept there."""
    made_from = stamp(identity, prompts)
    if not is_done(path, made_from):
        found = backbone().encode(prompts)
        tensors = _named("texts", found.texts.items()) | _named("empty", found.empty.items())
        save_tensors(path, tensors, kind="texts", fingerprint=made_from)
    return stored(path, device)


def stored(path: Path, device: torch.device) -> Condition:
    """The condition that lies in a file; the empty prompt on `device`, where rows come to."""
    tensors = load_tensors(path, kind="texts")[0]
    empty = {name: t.to(device) for name, t in _part(tensors, "empty").items()}
    return Condition(_part(tensors, "texts"), empty)


def stamp(identity: str, prompts: Sequence[str]) -> str:
    """The fingerprint of some prompts encoded by a model."""
    return fingerprint(stage="texts", schema=SCHEMA, model=identity, prompts=list(prompts))


def _named(part: str, tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{part}/{name}": t.clone() for name, t in tensors}


def _part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}/"): t for name, t in tensors.items() if name.startswith(f"{part}/")}
