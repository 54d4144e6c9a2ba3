"""Asks a model for known factors and lets the judge say what came out.

    python card.py --data DATA --vae OUT/vae/final --tiny OUT/tiny/final --clip OUT/clip/final \\
        --text OUT/unet/text --unet OUT/guided/final --judge OUT/judge/final --count 60

A word counts as obeyed when the judge reads the picture on the word's side of the line; beside it stands the judge on
real renders of which the word is true. What it cannot read there is no measure of a model. """

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from classes import chosen, seen, table
from common import Images
from diffusers import AutoencoderTiny
from factors import KINDS, STYLES, Creature
from judge import Judge
from render import SIZE
from sample import Painter
from torch import Tensor
from torch.nn.functional import cosine_similarity

from sliderspace.models.encoders import Encoder, load_encoder

Reading = tuple[dict[str, str], dict[str, float]]  # choices and numbers of one picture


@dataclass(frozen=True)
class Question:
    """A word in a prompt, and what must be read from a picture that obeys it."""

    group: str
    factor: str
    prompt: str
    obeyed: Callable[[Reading], bool]


def _choice(group: str, factor: str, prompt: str, value: str) -> Question:
    return Question(group, factor, prompt, lambda r: r[0].get(factor) == value)


def _side(group: str, factor: str, prompt: str, bound: float, above: bool) -> Question:
    return Question(group, factor, prompt, lambda r: r[1][factor] > bound if above else r[1][factor] < bound)


def questions() -> Iterator[Question]:
    """One kind of prompt for each word."""
    for kind in KINDS:
        yield _choice("kind", "kind", f"a {kind}", kind)
    for style in STYLES:
        yield _choice("style", "style", f"a monster in {style} style", style)
    for colour in ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink"):
        yield _choice("body colour", "body", f"{'an' if colour == 'orange' else 'a'} {colour} monster", colour)
        yield _choice("background", "ground", f"a monster, {colour} background", colour)
    for eyes, word in (("1", "one eye"), ("2", "two eyes"), ("3", "three eyes")):
        yield _choice("eyes", "eyes", f"a monster with {word}", eyes)
    for word, bound, above in (("long horns", 0.52, True), ("no horns", 0.2, False)):
        yield _side("horns", "horns", f"a monster with {word}", bound, above)
    yield _side("ears", "ears", "a monster with long ears", 0.4, True)
    yield _side("ears", "ears", "a bunny with no ears", 0.4, False)
    yield _side("antennae", "antennae", "a monster with long antennae", 0.4, True)
    yield _side("tail", "tail", "a monster with a long tail", 0.35, True)
    yield _side("spikes", "spikes", "a monster with spikes", 0.2, True)
    yield _side("belly", "belly", "a monster with a pale belly", 0.2, True)
    for word in ("spots", "stripes"):
        yield _choice("pattern", "marking", f"a monster with {word}", word)
    for group, factor, low, high, bound in (
        ("size", "size", "a small monster", "a big monster", 0.22),
        ("fat or thin", "width", "a thin monster", "a fat monster", 0.22),
        ("turned", "yaw", "a monster, turned left", "a monster, turned right", 0.22),
        ("light", "lamp", "a monster, light from the left", "a monster, light from the right", 0.22),
        ("head", "head", "a monster with a small head", "a monster with a big head", 0.22),
        ("size of eyes", "eye_size", "a monster with small eyes", "a monster with big eyes", 0.22),
    ):
        yield _side(group, factor, low, -bound, False)
        yield _side(group, factor, high, bound, True)
    yield _side("arms", "arms", "a monster, arms up", -0.1, True)
    yield _side("legs", "legs", "a monster with long legs", 0.48, True)
    yield _side("lids", "lid", "a monster, sleepy", 0.22, True)
    yield _side("mouth", "open", "a monster, mouth open", 0.46, True)
    yield _side("mood", "smile", "a monster, frowning", 0.1, False)
    yield _side("gloss", "gloss", "a shiny monster", 0.3, True)


def readings(judge: Judge, x01: Tensor) -> list[Reading]:
    choices, numbers = judge.read(x01)
    return [
        ({k: v[i] for k, v in choices.items()}, {k: float(v[i]) for k, v in numbers.items()}) for i in range(len(x01))
    ]


def real(judge: Judge, held: Images, creatures: list[Creature]) -> tuple[list[Reading], list[Reading]]:
    """What the judge reads on held-out renders, and the truth in the same form."""
    read = [
        r
        for index in np.array_split(np.arange(len(held)), 20)
        for r in readings(judge, held.batch(index, torch.device("cpu")))
    ]
    return read, [(chosen(c), seen(c)) for c in creatures]


def obeyed(painter: Painter, judge: Judge, held: tuple[list[Reading], list[Reading]], count: int) -> None:
    """Print how often the model obeys each group of words, and how often the judge reads them on renders."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for q in questions():
        if q.factor not in judge.classes:
            print(f"    {q.prompt:44} not read by this judge", flush=True)
            continue
        pictures = torch.cat([painter.paint([q.prompt] * 20, range(s, s + 20)) for s in range(0, count, 20)])
        share = float(np.mean([q.obeyed(r) for r in readings(judge, pictures)]))
        known = [q.obeyed(answer) for answer, true in zip(*held, strict=True) if q.obeyed(true)]
        groups.setdefault(q.group, []).append((share, float(np.mean(known)) if known else float("nan")))
        print(f"    {q.prompt:44} {share:.2f}   judge on renders {groups[q.group][-1][1]:.2f}", flush=True)
    for name, rows in groups.items():
        print(
            f"{name:14} {np.mean([r[0] for r in rows]):.3f}   judge on renders {np.nanmean([r[1] for r in rows]):.3f}"
        )


@torch.no_grad()
def previews(painter: Painter, tiny: AutoencoderTiny, encoder: Encoder, count: int) -> None:
    """Print the cosine between CLIP embeddings of the preview decoder's pictures and of the full decoder's."""
    z = painter.latents(
        ["a monster", "a dragon in ink style", "a bunny, neon style", "a robot toy"] * (count // 4),
        range(count // 4 * 4),
    )
    full = painter.vae.decode(z / painter.vae.config.scaling_factor).sample.clamp(-1, 1) / 2 + 0.5
    fast = tiny.decode(z).sample.clamp(-1, 1) / 2 + 0.5
    same = cosine_similarity(encoder(full.clamp(0, 1)), encoder(fast.clamp(0, 1)), dim=1)
    print(f"preview decoder: cosine with the full decoder's embedding {same.mean():.4f}, least {same.min():.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a model")
    for name in ("data", "vae", "clip", "text", "unet", "judge", "tiny"):
        parser.add_argument(f"--{name}", type=Path, required=name != "tiny")
    parser.add_argument("--count", type=int, default=60, help="pictures of each prompt, in twenties")
    o = parser.parse_args()
    torch.set_num_threads(1)
    painter, judge = Painter(o.vae, o.text, o.unet), Judge(o.judge)
    if o.tiny:
        clip = load_encoder(o.clip, identity="", device=torch.device("cpu"), dtype=torch.float32)
        tiny = AutoencoderTiny.from_pretrained(o.tiny, torch_dtype=torch.float32, use_safetensors=True)
        previews(painter, tiny, clip, 64)
    obeyed(painter, judge, real(judge, Images(o.data, "held", SIZE), table(o.data, "held")), o.count)


if __name__ == "__main__":
    main()
