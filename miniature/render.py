"""Draws creatures and writes their factors.

python render.py data/train0 --first 0 --count 20000      writes train0.rgb (uint8 pictures) and train0.jsonl
(their factors) python render.py --sheet FILE.png --count 96              a contact sheet"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from factors import Creature, creature, draw
from numpy.typing import NDArray
from PIL import Image
from scene import compose
from styles import DRAW
from torch.nn.functional import interpolate

SIZE = 128  # pixels a side
Picture = NDArray[np.uint8]


@torch.no_grad()
def render(c: Creature) -> Picture:
    """uint8 [SIZE, SIZE, 3]."""
    drawn = DRAW[c.style](compose(c))
    picture = interpolate(drawn[None] ** 2.2, size=(SIZE, SIZE), mode="bilinear", antialias=True)[0].clamp(0, 1) ** (
        1 / 2.2
    )
    return (picture * 255).round().byte().permute(1, 2, 0).numpy()


def sheet(pictures: list[Picture], columns: int) -> Picture:
    """All pictures in rows of `columns`, the last row filled with white."""
    blank = [np.full_like(pictures[0], 255)] * (-len(pictures) % columns)
    padded = [*pictures, *blank]
    return np.concatenate([np.concatenate(padded[i : i + columns], 1) for i in range(0, len(padded), columns)])


def write(out: Path, first: int, count: int, seed: int) -> None:
    """Pictures `first` to `first + count`, from where an earlier call was stopped; named once all are there."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.with_suffix(".rgb").exists():
        return
    table, pictures = out.with_suffix(".jsonl.part"), out.with_suffix(".rgb.part")
    done = pictures.stat().st_size // (SIZE * SIZE * 3) if pictures.exists() else 0
    lines = table.read_text().splitlines()[:done] if table.exists() else []
    done = min(done, len(lines))
    with pictures.open("r+b" if done else "wb") as raw, table.open("w") as text:
        raw.truncate(done * SIZE * SIZE * 3)
        raw.seek(0, 2)
        text.writelines(line + "\n" for line in lines[:done])
        for i in range(first + done, first + count):
            c = draw(i, seed)
            text.write(json.dumps(c.row()) + "\n")
            raw.write(render(c).tobytes())
    table.rename(out.with_suffix(".jsonl"))
    pictures.rename(out.with_suffix(".rgb"))


def again(shard: Path, styles: set[str]) -> None:
    """Draw the pictures of these styles anew in a finished shard, after a change of how they look."""
    rows = [json.loads(line) for line in shard.with_suffix(".jsonl").open()]
    pictures = np.memmap(shard.with_suffix(".rgb"), np.uint8, "r+").reshape(-1, SIZE, SIZE, 3)
    for i, row in enumerate(rows):
        if row["style"] in styles:
            pictures[i] = render(creature(row))
    pictures.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw creatures")
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--again", help="styles, with commas between: draw only these anew in a finished shard")
    o = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # far parts have fields of 1e-40, and arithmetic on those is slow
    if o.sheet:
        drawn = [render(draw(i, o.seed)) for i in range(o.first, o.first + o.count)]
        Image.fromarray(sheet(drawn, 12)).save(o.sheet)
    elif o.out and o.again:
        again(o.out, set(o.again.split(",")))
    elif o.out:
        write(o.out, o.first, o.count, o.seed)
    else:
        raise SystemExit("say where: a shard's name, or --sheet FILE.png")


if __name__ == "__main__":
    main()
