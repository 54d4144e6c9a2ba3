"""Teaches a finished CLIP's text tower what single words look like, its image tower locked (LiT, Zhai et al. 2022,
arXiv 2111.07991).

    python locked.py --data DATA --out OUT/locked --clip OUT/clip/final --images 600000

A contrast of whole captions is content with kind, style and colour, and so is a text that is drawn toward its pictures:
of eyes and mouths the texts said little that pictures showed, since what is seldom said and moves an embedding little
is worth little of either loss. Here every second batch says one thing each of a few nouns, and each phrase is taught
where the mean of the pictures is of which it is true, its error counted by its own distance from the others, and
`--single` times: at equal weight the contrast's larger gradients take Adam's steps for themselves. The other batches
are whole captions with the contrast, drawn toward their pictures.

No picture's embedding changes, and with it no slider and no measure by the image tower: only what texts are compared
with. Embeddings of pictures are made once, as they are and as `augment` leaves them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from classes import table
from clip import RICH, Teacher, both_ways, groups_of, looks_of, nearest, report, unit
from common import Images, Run, arguments, augment
from factors import CLAY, KINDS, STYLES, Creature
from numpy.random import Generator
from render import SIZE
from safetensors.torch import load_file, save_file
from styles import COLOUR, HIDES
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPTokenizer, VisionTextDualEncoderModel
from words import KEEPS, adjectives, background, body, caption, has, poses, tone

ALIKE = 0.5  # share of batches of one style, kind or look
LEAST = 20  # pictures that a phrase must be true of
SHORT = 0.05  # the length of a phrase's move below which errors no longer count by it


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


@dataclass(frozen=True)
class Phrases:
    """What can be said of one noun in one style, the bare noun first: for each phrase the ways to say it, and the mean
    of the pictures of which it is true as a unit embedding [W, D]."""

    ways: list[list[str]]
    mean_WD: Tensor


def words_of(c: Creature) -> set[str]:
    """Every single word or phrase that is true of a creature."""
    shown = COLOUR not in HIDES.get(c.style, ())
    colours = {body(c), tone(c["sat"], c["light"])} if shown else set()
    return {*has(c), *poses(c), *adjectives(c), background(c), *colours} - {""}


def ways(noun: str, style: str, word: str) -> list[str]:
    """How a phrase is said of a noun: "a monster with horns", "a monster, horns" and "a horns monster" alike, since
    prompts are not always grammar."""
    suffix = "" if style == CLAY else f" in {style} style"
    if not word:
        return [f"a {noun}{suffix}"]
    article = "an" if word[0] in "aeiou" else "a"
    return [f"a {noun}{suffix} with {word}", f"a {noun}{suffix}, {word}", f"{article} {word} {noun}{suffix}"]


def phrases_of(creatures: list[Creature], z_ND: Tensor) -> Iterator[Phrases]:
    """Of each kind in clay, and of any creature in each style."""
    said = [words_of(c) for c in creatures]
    kind, style = (np.array([getattr(c, key) for c in creatures]) for key in ("kind", "style"))
    groups = [(k, CLAY) for k in KINDS] + [("creature", s) for s in STYLES]
    for noun, look in groups:
        among = np.flatnonzero((style == look) & ((kind == noun) | (noun == "creature")))
        pictures = {"": among}
        for word in sorted({w for i in among for w in said[i]}):
            pictures[word] = np.array([i for i in among if word in said[i]])
        pictures = {word: index for word, index in pictures.items() if len(index) >= LEAST}
        if pictures:
            means = torch.stack([z_ND[index].mean(0) for index in pictures.values()])
            yield Phrases([ways(noun, look, word) for word in pictures], unit(means))


def missed(text_WD: Tensor, mean_WD: Tensor) -> Tensor:
    """How far phrases [W, D] of one noun are from where they should be: what they have in common, and each phrase's
    move from there as a share of the move's own length, squared."""
    common_t, common_m = text_WD.mean(0), mean_WD.mean(0)
    move_WD = mean_WD - common_m
    wrong_W = (text_WD - common_t - move_WD).square().sum(1)
    return (wrong_W / (move_WD.square().sum(1) + SHORT**2)).mean() + (common_t - common_m).square().sum()


def main() -> None:
    o = arguments(
        "Teach a CLIP's texts more words",
        images=600_000,
        batch=256,
        lr=1e-3,
        clip="",
        toward=10.0,
        at_once=4,
        single=10.0,
    )
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
    nouns = list(phrases_of(creatures, z_2ND.mean(0)))
    run = Run(clip, o.out / "state.safetensors", images=o.images, batch=o.batch, lr=o.lr, decay=0.05)

    def of_phrases(rng: Generator) -> tuple[Tensor, str]:
        chosen = [nouns[k] for k in rng.choice(len(nouns), min(o.at_once, len(nouns)), replace=False)]
        said = [[str(rng.choice(way)) for way in noun.ways] for noun in chosen]
        parts = teacher.texts([text for part in said for text in part]).split([len(part) for part in said])
        loss = torch.stack([missed(part, noun.mean_WD) for part, noun in zip(parts, chosen, strict=True)]).mean()
        return o.single * loss, f"missed {loss.item():.3f}"

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        rng = np.random.default_rng((o.seed, 1, run.step))
        if run.step % 2:
            return of_phrases(rng)
        if rng.random() < ALIKE:
            group = alike[rng.integers(len(alike))]
            index = rng.choice(group, o.batch, replace=len(group) < o.batch)
        image_BD = z_2ND[rng.integers(2), index]
        said = [caption(creatures[i], rng, RICH if rng.random() < 0.67 else KEEPS[:2]) for i in index]
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
