"""Teaches a finished CLIP's text tower what single words look like, its image tower locked (LiT, Zhai et al. 2022,
arXiv 2111.07991).

    python locked.py --data DATA --out OUT/locked --clip OUT/clip/final --images 600000

A contrast of whole captions is content with kind, style and colour, and of eyes and mouths the texts said little that
pictures showed. Here most captions say one thing, and beside the contrast a text is drawn toward the pictures it
is true of: on average that is their mean, so two texts differ as their pictures do. No picture's embedding changes, and
with it no slider and no measure by the image tower: only what texts are compared with. Embeddings of pictures are made
once, as they are and as `augment` leaves them."""

from pathlib import Path

import numpy as np
import torch
from classes import table
from clip import RICH, Teacher, both_ways, groups_of, looks_of, nearest, report
from common import Images, Run, arguments, augment
from factors import Creature
from numpy.random import Generator
from render import SIZE
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPTokenizer, VisionTextDualEncoderModel
from words import KEEPS, background, caption, has, poses

ALIKE = 0.5  # share of batches of one style, kind or look
ONE = 0.6  # share of batches whose captions say one thing


@torch.no_grad()
def embedded(teacher: Teacher, data: Images, path: Path) -> Tensor:
    """Unit embeddings [2, N, D] of all pictures as they are and as previews look, kept at `path`."""
    if not path.exists():
        parts: list[Tensor] = []
        for index in np.array_split(np.arange(len(data)), max(1, len(data) // 100)):
            x = data.batch(index, teacher.device)
            parts.append(torch.stack([teacher.pictures(x), teacher.pictures(augment(x))]))
        save_file({"embeddings": torch.cat(parts, 1)}, path)
    return load_file(path)["embeddings"]


def said_of(c: Creature, rng: Generator, one: bool) -> str:
    """A caption, or one that says one thing beside the noun, at times with a colour or a style."""
    if not one:
        return caption(c, rng, RICH if rng.random() < 0.67 else KEEPS[:2])
    sayable = [word for word in (*has(c), *poses(c), background(c)) if word]
    return caption(c, rng, (0.0,), [rng.choice(sayable)])


def main() -> None:
    o = arguments("Teach a CLIP's texts more words", images=600_000, batch=256, lr=1e-3, clip="", toward=10.0)
    torch.set_flush_denormal(True)
    data, creatures = Images(o.data, "train", SIZE), table(o.data, "train")
    clip = VisionTextDualEncoderModel.from_pretrained(o.clip, dtype=torch.float32, use_safetensors=True).to(o.device)
    clip.text_model.set_attn_implementation("eager")  # twice as fast as the fused kernel on CPU at 32 tokens
    clip.requires_grad_(False)
    for part in (clip.text_model, clip.text_projection):
        part.requires_grad_(True)
    clip.logit_scale.requires_grad_(True)
    words = CLIPTokenizer.from_pretrained(o.clip)
    teacher = Teacher(clip, words, creatures, o.device)
    z_2ND = embedded(teacher, data, o.out / "embeddings.safetensors")
    alike = [group for group in (*groups_of(creatures), *looks_of(creatures, o.batch // 2)) if len(group)]
    run = Run(clip, o.out / "state.safetensors", images=o.images, batch=o.batch, lr=o.lr, decay=0.05)

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        rng = np.random.default_rng((o.seed, 1, run.step))
        if rng.random() < ALIKE:
            group = alike[rng.integers(len(alike))]
            index = rng.choice(group, o.batch, replace=len(group) < o.batch)
        image_BD = z_2ND[rng.integers(2), index]
        one = rng.random() < ONE
        said = [said_of(creatures[i], rng, one) for i in index]
        text_BD = teacher.texts(said)
        scores = image_BD @ text_BD.T * clip.logit_scale.exp()
        off = 1 - (image_BD * text_BD).sum(1).mean()
        return both_ways(scores) + o.toward * off, f"top-1 of {o.batch} {nearest(scores):.3f} off {off.item():.3f}"

    run.train(len(data), o.seed, loss_of)
    run.use_ema()
    report(Images(o.data, "held", SIZE), Teacher(clip, words, table(o.data, "held"), o.device))
    clip.half().save_pretrained(o.out / "final")
    CLIPImageProcessor.from_pretrained(o.clip).save_pretrained(o.out / "final")
    CLIPTokenizer.from_pretrained(o.clip).save_pretrained(o.out / "final")  # one in use keeps how it padded


if __name__ == "__main__":
    main()
