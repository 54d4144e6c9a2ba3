"""The other half of a CLIP: text -> unit vectors in the space of its pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sliderspace.core.arrays import Array
from sliderspace.core.errors import BadInput
from sliderspace.models.configs import configs_of
from sliderspace.models.encoders.base import read_json
from sliderspace.models.encoders.catalogue import ENCODERS, FILES, explained, find_encoder
from sliderspace.models.encoders.towers import DUAL
from sliderspace.models.quiet import quiet_loading
from sliderspace.models.sources import fetch, find, is_repo

BATCH = 64
TOWERS = {"clip": "CLIPTextModelWithProjection", DUAL: "VisionTextDualEncoderModel"}
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json")


class TextTower:
    """Texts -> unit vectors [N, D] float64; what is longer than the tower reads is cut."""

    def __init__(self, model: Any, tokenizer: Any, device: torch.device) -> None:
        self.model, self.tokenizer, self.device = model.to(device).eval().requires_grad_(False), tokenizer, device
        self.dual = model.config.model_type == DUAL
        self.length = int((model.config.text_config if self.dual else model.config).max_position_embeddings)

    def __call__(self, texts: Sequence[str]) -> Array:
        parts = [self._embedded(list(texts[i : i + BATCH])) for i in range(0, len(texts), BATCH)]
        return torch.cat(parts).double().cpu().numpy() if parts else np.zeros((0, self.dim))

    @property
    def dim(self) -> int:
        return int(self.model.config.projection_dim)

    @torch.no_grad()
    def _embedded(self, texts: list[str]) -> Tensor:
        tokens = self.tokenizer(
            texts, padding="max_length", truncation=True, max_length=self.length, return_tensors="pt"
        ).to(self.device)
        asked = {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
        found = self.model.get_text_features(**asked).pooler_output if self.dual else self.model(**asked).text_embeds
        return nn.functional.normalize(found.float(), dim=-1)


def reads_words(location: str) -> bool:
    """Whether an encoder of this name, repository or folder is a whole CLIP or dual encoder, which has a text tower."""
    if location == "facenet" or (location not in ENCODERS and not is_repo(location) and find(location).is_file()):
        return False
    return read_json(configs_of(location) / "config.json").get("model_type") in TOWERS


def load_text_tower(location: str, device: torch.device) -> TextTower:
    """The text tower of a CLIP or dual encoder, fetched where it is not here.

    Raises BadInput where it cannot be had, or is damaged."""
    import transformers

    folder = _folder(location)
    with explained(folder), quiet_loading():  # no report on the image tower that is left out
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        family: Any = getattr(transformers, TOWERS[read_json(folder / "config.json")["model_type"]])
        model, found = family.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    if found["missing_keys"]:  # transformers would fill them with random numbers
        raise BadInput(f"the text tower in {folder} lacks {len(found['missing_keys'])} parts")
    return TextTower(model, tokenizer, device)


def read_words(location: str, texts: Sequence[str], device: torch.device) -> Tensor | None:
    """Unit vectors [N, D], float32 on the CPU; None where the encoder has no text tower. Errors as
    `load_text_tower`."""
    if not reads_words(location):
        return None
    return torch.from_numpy(load_text_tower(location, device)(texts)).float()


def _folder(location: str) -> Path:
    if location in ENCODERS:
        known = ENCODERS[location]
        return fetch(known.source, revision=known.revision, patterns=(*FILES, *TOKENIZER))
    return find(location, (*FILES, *TOKENIZER)) if is_repo(location) else find_encoder(location)
