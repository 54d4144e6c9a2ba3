"""Measures the miniature as a user meets it, through plain `diffusers`, and writes the numbers into its model card.

    python card.py --model ../src/sliderspace/assets/mini --data DATA --judge judge/final \\
        --out ../docs/miniature.md --sheet ../docs/img/miniature.png

Prompts are built from the factors of held-out drawings, so every combination asked for exists; a classifier trained on
real renders (judge.py) says what came out. Without `--out` the table is only printed.
"""

import argparse
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from clip import RICH
from common import Images, rows
from diffusers import AutoencoderKL, StableDiffusionPipeline
from judge import Judge
from PIL import Image, ImageDraw
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer
from vae import psnr
from world import STYLE_WORDS, _phrases, caption, factors

BEGIN, END = "<!-- measured: begin (written by miniature/card.py) -->", "<!-- measured: end -->"
# What a factor is when nothing is said of it, and the values that have no words.
BLANK = {
    "hair": "unnamed",
    "hair_colour": "none",
    "skin": "none",
    "glasses": "none",
    "beard": "none",
    "earrings": "none",
    "clothing": "none",
    "mouth": "unnamed",
    "eyes": "unnamed",
}
WORDLESS = {"none", "unnamed"}
ASKED = {
    "style": "style",
    "background": "background colour",
    "glasses": "glasses or sunglasses",
    "beard": "beard or moustache",
    "hair": "hair length or shape, hat",
    "hair_colour": "hair colour",
    "skin": "skin colour",
    "clothing": "clothing colour",
    "mouth": "expression of the mouth",
    "earrings": "earrings",
    "kind": "robot, emoji face or thumb",
}
TARGETS = {"style": 0.95, "background": 0.95, "glasses": 0.85}
SHEET = (
    "a portrait of a person",
    "a robot",
    "an emoji face",
    "a thumb",
    "a person with glasses",
    "a person with a beard",
    "a person with red hair and glasses, pixel art style, blue background",
    "a person with long green hair, adventurer style, pink background",
    "a person with dark skin and sunglasses, avataaars style, yellow background",
    "a person with blonde hair in a bun, smiling, big smile style",
    "a red robot with heart eyes, bottts style, teal background",
    "a person with a beard, laughing, dylan style, green background",
    "an emoji face with sunglasses, smiling, fun emoji style, orange background",
    "a person with earrings, lorelei style, purple background",
    "a person with a blue mohawk, surprised, micah style, white background",
    "a person with a moustache and red clothes, miniavs style, grey background",
    "a person with glasses, notionists style, red background",
    "a person with a black afro, open peeps style, blue background",
    "a person with sunglasses and purple clothes, personas style, green background",
    "a blue thumb, thumbs style, pink background",
    "a person with long brown hair, angry, toon head style, teal background",
)
Factors = Mapping[str, str]


@dataclass(frozen=True)
class Order:
    """One image to be drawn: the prompt, the drawing it describes, and which of its factors the prompt names."""

    prompt: str
    truth: Factors
    asked: frozenset[str]


def sayable(f: Factors) -> frozenset[str]:
    """The factors of a drawing that a prompt can name."""
    named = {k for k in ASKED if f[k] not in WORDLESS}
    return frozenset(named - {k for k, plain in (("skin", "white"), ("kind", "person")) if f[k] == plain})


def prompt(f: Factors, asked: frozenset[str]) -> str:
    """The world's caption for the factors named, in the grammar of `world.caption`."""
    coloured = f["kind"] in ("robot", "thumb") and "clothing" in asked
    noun = (
        f"a {f['clothing']} {f['kind']}"
        if coloured
        else "an emoji face"
        if f["kind"] == "emoji face"
        else f"a {f['kind']}"
    )
    said = _phrases({k: v if k in asked else BLANK.get(k, v) for k, v in f.items()})
    text = noun + (" with " + ", ".join(said[:-1]) + (" and " if said[:-1] else "") + said[-1] if said else "")
    text += f", {f['mouth']}" if "mouth" in asked else ""
    text += f", {STYLE_WORDS[f['style']]} style" if "style" in asked else ""
    return text + (f", {f['background']} background" if "background" in asked else "")


def order(f: Factors, asked: Iterable[str]) -> Order:
    """Length and shape of hair are only ever said together with its colour, so that one brings the other."""
    asked = frozenset(asked) | ({"hair_colour"} & sayable(f) if "hair" in asked else set())
    return Order(prompt(f, asked), f, asked | ({"kind"} & sayable(f)))


def orders(truth: Sequence[Factors], count: int, rng: np.random.Generator) -> tuple[list[Order], list[Order]]:
    """For every factor `count` prompts that name it alone, and `count` with the style, the background and some
    others."""
    alone, together = [], []
    for k in ASKED:
        having = [f for f in truth if k in sayable(f)]
        alone += [order(having[i], {k}) for i in rng.choice(len(having), count)]
        for i in rng.choice(len(having), count):
            others = {other for other in sorted(sayable(having[i])) if rng.random() < 0.4}
            together.append(order(having[i], {k, "style", "background"} | others))
    return alone, together


class Painter:
    """The shipped pipeline, asked in batches; image number i has a generator of its own, whatever the batch."""

    def __init__(self, o: argparse.Namespace) -> None:
        self.pipe = StableDiffusionPipeline.from_pretrained(o.model / "pipeline", use_safetensors=True).to(o.device)
        self.pipe.set_progress_bar_config(disable=True)
        self.options = {"num_inference_steps": o.steps, "guidance_scale": o.guidance, "guidance_rescale": o.rescale}
        self.batch, self.seed, self.drawn, self.seconds = o.batch, o.seed, 0, 0.0

    def draw(self, prompts: Sequence[str], seeds: Sequence[int] | None = None) -> Iterator[Tensor]:
        """images01 [<= batch, 3, 64, 64], batch after batch."""
        seeds = seeds or range(self.drawn, self.drawn + len(prompts))
        for i in range(0, len(prompts), self.batch):
            begin, part = time.time(), list(prompts[i : i + self.batch])
            given = [torch.Generator().manual_seed(self.seed * 1_000_003 + s) for s in seeds[i : i + self.batch]]
            yield self.pipe(part, generator=given, output_type="pt", **self.options).images.float().clamp(0, 1)
            self.drawn, self.seconds = self.drawn + len(part), self.seconds + time.time() - begin


def shares(
    judge: Judge, pictures: Iterable[Tensor], wanted: Iterable[tuple[Factors, frozenset[str]]]
) -> dict[str, tuple[int, float]]:
    """Factor -> how often it was asked for, and the share of those images that show it."""
    right: dict[str, list[bool]] = {k: [] for k in ASKED}
    answers = (a for x in pictures for a in judge.answers(x))
    for answer, (truth, asked) in zip(answers, wanted, strict=True):
        for k in asked:
            right[k].append(answer[k] == truth[k])
    return {k: (len(v), float(np.mean(v)) if v else float("nan")) for k, v in right.items()}


def chunks(data: Images, size: int, device: torch.device) -> Iterator[Tensor]:
    return (data.batch(np.arange(i, min(i + size, len(data))), device) for i in range(0, len(data), size))


@torch.no_grad()
def decoded(vae: AutoencoderKL, x01: Tensor) -> Tensor:
    return (vae.decode(vae.encode(x01 * 2 - 1).latent_dist.mean).sample / 2 + 0.5).clamp(0, 1)


@torch.no_grad()
def retrieval(
    folder: Path, held: Images, truth: Sequence[Factors], groups: Sequence[np.ndarray], rng: np.random.Generator
) -> float:
    """Share of the images whose own caption is the nearest of their group's; an equal caption counts as its own."""
    clip, words = (
        CLIPModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True).eval(),
        CLIPTokenizer.from_pretrained(folder),
    )
    look = CLIPImageProcessor.from_pretrained(folder)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (look.image_mean, look.image_std))
    hits: list[bool] = []
    for index in groups:
        texts = [caption(truth[i], rng, RICH) for i in index]
        tokens = words(texts, padding="max_length", truncation=True, return_tensors="pt")
        scores = clip(**tokens, pixel_values=(held.batch(index, torch.device("cpu")) - mean) / std).logits_per_image
        hits += [texts[j] == own for j, own in zip(scores.argmax(1).tolist(), texts, strict=True)]
    return float(np.mean(hits))


def retrievals(folder: Path, held: Images, truth: Sequence[Factors], rng: np.random.Generator) -> str:
    """Among 256 drawings of anything, and among 256 of one style, where only what is drawn tells them apart."""
    mixed = np.array_split(rng.permutation(len(truth))[: 256 * 8], 8)
    styles = [np.flatnonzero([f["style"] == s for f in truth])[:256] for s in STYLE_WORDS]
    found = [percent(retrieval(folder, held, truth, groups, rng)) for groups in (mixed, styles)]
    return f"own caption nearest of 256: {found[0]} of held-out drawings; of 256 of the same style: {found[1]}"


def sheet(painter: Painter, path: Path, *, columns: int = 12, label: int = 260) -> None:
    """One row a prompt, one column a seed, at the size the model draws."""
    page = Image.new("RGB", (label + 64 * columns, 64 * len(SHEET)), "white")
    pen = ImageDraw.Draw(page)
    for row, text in enumerate(SHEET):
        pen.multiline_text((6, 64 * row + 8), "\n".join(textwrap.wrap(text, 40)), fill="black")
        strip = torch.cat(list(painter.draw([text] * columns, range(columns))))
        pixels = strip.mul(255).round().byte().permute(2, 0, 3, 1).reshape(64, -1, 3)
        page.paste(Image.fromarray(pixels.cpu().numpy()), (label, 64 * row))
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, optimize=True)


def percent(share: float) -> str:
    return "–" if np.isnan(share) else f"{100 * share:.1f} %"


def quality(painter: Painter, judge: Judge, o: argparse.Namespace, held: Images, truth: Sequence[Factors]) -> list[str]:
    """The table of what prompts give, and the line of what the plain prompt gives."""
    named = [(f, sayable(f)) for f in truth]
    real = shares(judge, chunks(held, 200, o.device), named)
    soft = shares(judge, (decoded(painter.pipe.vae, x) for x in chunks(held, 100, o.device)), named)
    sets = orders(truth, o.count, np.random.default_rng(o.seed))
    alone, together = (
        shares(judge, painter.draw([w.prompt for w in s]), [(w.truth, w.asked) for w in s]) for s in sets
    )
    lines = [
        "| asked for | alone in the prompt | with style, background and others | the judge on real renders | … "
        "through the VAE |",
        "|---|---|---|---|---|",
    ]
    for k, name in ASKED.items():
        (n, a), (m, b), target = alone[k], together[k], f" (target {percent(TARGETS[k])[:2]} %)" if k in TARGETS else ""
        lines.append(
            f"| {name}{target} | {percent(a)} of {n} | {percent(b)} of {m} | {percent(real[k][1])} | "
            f"{percent(soft[k][1])} |"
        )
    plain = Counter(a["style"] for x in painter.draw(["a portrait of a person"] * o.count) for a in judge.answers(x))
    mix = ", ".join(f"{STYLE_WORDS[s]} {percent(n / o.count)}" for s, n in plain.most_common(8))
    return [*lines, "", f'Styles that "a portrait of a person" gives ({o.count} images): {mix}.']


def parts(o: argparse.Namespace, painter: Painter, held: Images, truth: Sequence[Factors]) -> list[str]:
    """The table of parts: values, file sizes, and what each is good for on held-out drawings."""
    clip, vae = CLIPModel.from_pretrained(o.model / "clip", use_safetensors=True), painter.pipe.vae
    x = held.batch(np.arange(1024), o.device)
    fidelity = np.mean([psnr(decoded(vae, y), y) for y in x.split(128)])
    table = [
        ("unet", painter.pipe.unet, ""),
        ("vae", vae, f"PSNR {fidelity:.1f} dB on 1,024 held-out drawings"),
        ("text_encoder", painter.pipe.text_encoder, "the text tower of `clip`, frozen"),
        ("clip", clip, retrievals(o.model / "clip", held, truth, np.random.default_rng(o.seed + 1))),
    ]
    lines = ["| part | values | size | measured |", "|---|---|---|---|"]
    for name, model, note in table:
        where = o.model if name == "clip" else o.model / "pipeline"
        lines.append(
            f"| `{name}` | {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M | {mib(where / name)} | {note} |"
        )
    return [*lines, f"| whole folder | | {mib(o.model)} | at most 36 MiB |"]


def mib(folder: Path) -> str:
    return f"{sum(p.stat().st_size for p in folder.rglob('*') if p.is_file()) / 2**20:.1f} MiB"


def write(path: Path, text: str) -> None:
    """Put `text` between the markers of the model card, leaving every other line as it is."""
    before, rest = path.read_text().split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the miniature and fill its model card")
    for name, text in (
        ("model", "folder with the pipeline and clip"),
        ("data", "folder of rendered shards"),
        ("judge", "folder `final` of judge.py"),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, help=text)
    parser.add_argument("--out", type=Path, help="the model card to fill between its markers")
    parser.add_argument("--sheet", type=Path, help="PNG of prompts and seeds to write")
    for name, value in {
        "steps": 8,
        "guidance": 1.0,
        "rescale": 0.0,
        "count": 200,
        "batch": 50,
        "threads": 0,
        "seed": 0,
    }.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def main() -> None:
    o = options()
    if o.threads:
        torch.set_num_threads(o.threads)
    painter, judge = Painter(o), Judge(o.judge, o.device)
    held, truth = Images(o.data, "held"), [factors(r) for r in rows(o.data, "held")]
    lines = [*parts(o, painter, held, truth), "", *quality(painter, judge, o, held, truth), ""]
    lines.append(
        f"{painter.drawn:,} images, {o.steps} steps, guidance {o.guidance:g}, seed {o.seed}; "
        f"{painter.drawn / painter.seconds:.0f} images/s on {o.device.type} with {torch.get_num_threads()} threads."
    )
    print("\n".join(lines), flush=True)
    if o.sheet:
        sheet(painter, o.sheet)
    if o.out:
        write(o.out, "\n".join(lines))


if __name__ == "__main__":
    main()
