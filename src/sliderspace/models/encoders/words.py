"""The other half of CLIP: texts -> unit vectors beside those of images, for CLIP-score. None where an encoder reads no
words."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sliderspace.core.errors import BadInput
from sliderspace.models.encoders.catalogue import find_encoder, read_folder
from sliderspace.models.quiet import quiet_loading

READS = "clip"
BATCH = 64


@torch.no_grad()
def read_words(location: str, texts: Sequence[str], device: torch.device) -> Tensor | None:
    """Unit vectors [N, D], float32 on the CPU, of texts cut at the tower's window; None where the encoder is no CLIP
    with its text tower. Raises BadInput where that tower's files are damaged."""
    if location == "facenet":
        return None
    folder = find_encoder(location)
    config = read_folder(folder)[0]
    if config["model_type"] != READS or not any(folder.glob("tokenizer*")):
        return None
    import transformers

    family: Any = transformers
    try:
        with quiet_loading():
            tower = family.CLIPTextModelWithProjection.from_pretrained(folder, use_safetensors=True).to(device).eval()
            words = family.AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BadInput(
            f"the words of the encoder in {folder} cannot be loaded: {str(error).splitlines()[0]}"
        ) from error
    window = int(tower.config.max_position_embeddings)
    found: list[Tensor] = []
    for first in range(0, len(texts), BATCH):
        part = list(texts[first : first + BATCH])
        read = words(part, padding="max_length", truncation=True, max_length=window, return_tensors="pt")
        found.append(tower(read.input_ids.to(device)).text_embeds.float().cpu())
    return torch.nn.functional.normalize(torch.cat(found), dim=-1)
