"""A space's own CLIP: its pictures and texts as vectors of one space."""

from collections.abc import Sequence

import numpy as np
import torch

from sliderspace.core.arrays import Array, Images
from sliderspace.core.batches import in_batches
from sliderspace.core.settings import Settings
from sliderspace.core.text import one_line
from sliderspace.label.directions import Moves, slopes
from sliderspace.label.pictures import Pictures
from sliderspace.models.backbones.presets import CLIP_L, preset_for
from sliderspace.models.device import device_for
from sliderspace.models.encoders import Encoder
from sliderspace.models.encoders.words import load_text_tower, reads_words
from sliderspace.models.load import encoder_at
from sliderspace.space.space import ELSEWHERE, SliderSpace

TEMPLATES = ("{concept} with {words}", "{concept}, {words}")


class Clip:
    """The CLIP that trained a space, else the one its model comes with, else OpenAI's."""

    def __init__(self, space: SliderSpace) -> None:
        self.settings, self.batch = space.settings, space.speed.batch
        self.device = device_for(space.speed.device)
        location = clip_for(space.settings)
        self.encoder: Encoder = encoder_at(location, device=self.device, dtype=torch.float32)
        self.texts = load_text_tower(location, self.device)

    def moves(self, pictures: Pictures) -> Moves:
        """What a space's sliders do to its pictures."""
        changes = [slopes(self._seen(sweep), pictures.strengths_M) for sweep in pictures.sliders]
        return Moves(np.stack(changes), self._seen(pictures.base), self.settings.seed)

    def texts_about(self, phrases: Sequence[str]) -> Array:
        """φ [W, D] of each phrase said of the concept, the mean over TEMPLATES."""
        concept = one_line(self.settings.prompts[0])
        said = [template.format(concept=concept, words=phrase) for phrase in phrases for template in TEMPLATES]
        return self.texts(said).reshape(len(phrases), len(TEMPLATES), -1).mean(axis=1)

    @torch.no_grad()
    def _seen(self, images: Images) -> Array:
        """φ [..., D] float64 of uint8 pictures [..., H, W, 3]."""
        flat = torch.from_numpy(images.reshape(-1, *images.shape[-3:]))

        def embed(part: range) -> torch.Tensor:
            x = flat[part.start : part.stop].permute(0, 3, 1, 2).to(self.device).float() / 255
            return self.encoder(x).cpu()

        z_ND = torch.cat([z for _, z in in_batches(0, len(flat), self.batch, embed)])
        return z_ND.double().numpy().reshape(*images.shape[:-3], -1)


def clip_for(settings: Settings) -> str:
    """Where that CLIP is; one in a folder of another machine is passed over."""
    elsewhere = settings.backbone.startswith(ELSEWHERE)
    places = (settings.encoder, "" if elsewhere else preset_for(settings.backbone).encoder)
    here = (place for place in places if place and not place.startswith(ELSEWHERE))
    return next(filter(reads_words, here), CLIP_L)
