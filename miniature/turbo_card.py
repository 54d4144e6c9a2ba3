"""What distillation gave and took, on the models that ship: distances and variety beside the teacher's.

    python turbo_card.py --data OUT/data --count 160 --sheet FILE.png

Captions and noise are the same for all. Everything is drawn by the preview decoder, as a discovery draws, and seen by
the judge; distance and recall are to held-out renders, which nobody learnt from."""

import argparse
from pathlib import Path

import numpy as np
import torch
from common import images
from factors import draw
from PIL import Image
from render import SIZE, sheet
from words import caption

from sliderspace.core.arrays import Array
from sliderspace.measure.sets.frechet import Statistics, frechet_distance
from sliderspace.measure.sets.manifold import precision, recall
from sliderspace.measure.sets.variety import vendi_score
from sliderspace.method.denoise import render
from sliderspace.models.load import encoder_at, load_backbone
from sliderspace.storage.images import to_uint8

ARMS = (("mini", 8), ("mini", 4), ("mini-turbo", 4))
HELD = 5_000_000  # the first creature whose caption is drawn: no training reads so far
KEEPS = (0.0, 0.3)  # captions with more in them are longer than the words that the model reads
SHOWN = 16


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the distilled model with its teacher")
    parser.add_argument("--data", type=Path, required=True, help="folder of rendered shards")
    parser.add_argument("--count", type=int, default=160)
    parser.add_argument("--sheet", type=Path, help="a PNG: a row each of the first pictures")
    o = parser.parse_args()
    torch.set_num_threads(1)
    judge = encoder_at("asset:mini/judge", device=torch.device("cpu"))

    @torch.no_grad()
    def seen(x01: torch.Tensor) -> Array:
        return torch.cat([judge(part) for part in x01.split(50)]).double().numpy()

    renders = np.concatenate(images(o.data, "held", SIZE))[: o.count]
    real_ND = seen(torch.from_numpy(renders).permute(0, 3, 1, 2).float() / 255)
    texts = [caption(draw(HELD + n), np.random.default_rng((9, n)), KEEPS) for n in range(o.count)]
    rows: list[np.ndarray] = []
    for prompts in (texts, ["a creature"] * o.count):
        for name, steps in ARMS:
            backbone = load_backbone(name, steps=steps, device="cpu")
            condition = backbone.encode(prompts)
            x01 = torch.cat(list(render(backbone, None, condition, range(o.count), range(o.count)))).clamp(0, 1)
            z_ND = seen(x01)
            said = f"{'captions' if prompts is texts else prompts[0]}: {name}, {steps} steps: "
            said += f"Vendi {vendi_score(z_ND):.1f}"
            if prompts is texts:
                distance = frechet_distance(Statistics.of([real_ND]), Statistics.of([z_ND]))
                said += f", distance {distance:.3f}, recall {recall(real_ND, z_ND):.2f}"
                said += f", precision {precision(real_ND, z_ND):.2f}"
            print(said, flush=True)
            rows += list(to_uint8(x01[:SHOWN]).numpy())
    if o.sheet:
        Image.fromarray(sheet(rows, SHOWN)).save(o.sheet)


if __name__ == "__main__":
    main()
