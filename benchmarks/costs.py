"""The table of what each preset costs, counted on models without weights: sizes, arithmetic and memory of every part.

    python benchmarks/costs.py                      # print it
    python benchmarks/costs.py --write              # store it in the package: src/sliderspace/assets/costs.json
    python benchmarks/costs.py sdxl --write         # these only, beside the rows that are stored

The real classes are built from the configurations in `assets/configs` on tensors without memory, and one call of each
part runs while a meter counts live bytes and floating-point operations: bfloat16, one image, the preset's resolution,
guidance and decoder.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from counting import Cost, counted, largest_layer_bytes
from torch import Tensor, nn
from unloaded import build, fake, parameters_of, unloaded_encoder, values_of

from sliderspace.core.settings import settings_from
from sliderspace.method.sliders import SliderBank, target_layers
from sliderspace.models.backbones import PRESETS, Condition
from sliderspace.models.backbones.pipeline import PipelineBackbone
from sliderspace.models.configs import configs_of
from sliderspace.models.costs import TABLE, Part, table
from sliderspace.models.encoders import ENCODERS, Encoder
from sliderspace.models.encoders.base import read_json
from sliderspace.models.quiet import quiet_loading
from sliderspace.plan.card import GIB
from sliderspace.plan.meter import Meter

BFLOAT16 = torch.bfloat16
FACENET_STORED = 27_500_000  # its file holds the classifier of its training too: 0.11 GB of float32


def model_of(name: str) -> PipelineBackbone:
    return build(settings_from({"prompts": ("a toy",), "backbone": name}), fake(), BFLOAT16)[0]


def part_of(values: int, forward: Cost, update: Cost, checkpointed: Cost) -> Part:
    tflops = [round(cost.flops / 1e12, 6) for cost in (forward, update, checkpointed)]
    gibs = [round(cost.peak / GIB, 6) for cost in (forward, update, checkpointed)]
    return Part(values, *tflops, *gibs)


def without_gradients(work: Callable[[], object], *known: nn.Module) -> Cost:
    with torch.no_grad():
        return counted(work, *known)


# ---- the parts


def denoiser_part(backbone: PipelineBackbone, condition: Condition) -> Part:
    bank = SliderBank(backbone.denoiser, 1, pattern=backbone.layers["cross-kv"])
    x, rows = backbone.start([0]), condition.rows([0])
    step = torch.zeros(1, dtype=torch.int64)

    def predict() -> Tensor:
        return backbone.predict(x, step, rows)

    def update() -> None:
        with bank.active(torch.ones(1, 1)):
            predict().sum().backward()
        for parameter in bank.trained():
            parameter.grad = None

    known = (backbone.denoiser, bank)
    forward, plain = without_gradients(predict, *known), counted(update, *known)
    backbone.denoiser.enable_gradient_checkpointing()
    return part_of(values_of(backbone.denoiser), forward, plain, counted(update, *known))


def decoder_part(backbone: PipelineBackbone) -> Part:
    z = torch.zeros(1, *backbone.latent_shape)

    def update() -> None:
        backbone.decode(z.clone().requires_grad_()).sum().backward()

    forward = without_gradients(lambda: backbone.decode(z), backbone.decoder)
    plain = counted(update, backbone.decoder)
    if backbone.setup.decoder is None:
        backbone.checkpoint_vae(backbone.decoder)
    return part_of(values_of(backbone.decoder), forward, plain, counted(update, backbone.decoder))


def encoder_part(encoder: Encoder, pixels: int) -> Part:
    image = torch.rand(1, 3, pixels, pixels)

    def update() -> None:
        encoder(image.clone().requires_grad_()).sum().backward()

    plain = counted(update, encoder)
    return part_of(values_of(encoder), without_gradients(lambda: encoder(image), encoder), plain, plain)


# ---- the table


_seen: dict[str, dict[str, Any]] = {}  # presets that share a network share its counts


def model_row(name: str) -> dict[str, Any]:
    backbone = model_of(name)
    key = "/".join(map(str, (backbone.folder, backbone.setup.weights, backbone.setup.decoder, backbone.latent_shape)))
    if (key := f"{key}/{denoiser_rows(backbone)}") not in _seen:
        _seen[key] = count_model(backbone)
    return _seen[key]


def count_model(backbone: PipelineBackbone) -> dict[str, Any]:
    with Meter() as meter:  # the text encoders are made within the block, so that their weights count
        condition = backbone.encode(["a prompt"])
    layers = {
        targets: [
            len(found := target_layers(backbone.denoiser, pattern)),
            sum(m.in_features for m in found.values()),
            sum(m.out_features for m in found.values()),
        ]
        for targets, pattern in backbone.layers.items()
    }
    linear = [m.weight.numel() for m in backbone.denoiser.modules() if isinstance(m, nn.Linear)]
    own = type(backbone)(backbone.folder, replace(backbone.setup, decoder=None))
    return {
        "pixels": backbone.image_size,
        "rows": denoiser_rows(backbone),
        "latent_values": int(torch.tensor(backbone.latent_shape).prod()),
        "text_gib": round(meter.peak / GIB, 4),
        "stored_values": stored_values(backbone),
        "linear_values": sum(linear),
        "largest_linear": largest_layer_bytes(backbone.denoiser) // 2,
        "layers": layers,
        "decoder": asdict(decoder_part(backbone)),
        "own_decoder": asdict(decoder_part(own)),
        "denoiser": asdict(denoiser_part(backbone, condition)),
    }


def denoiser_rows(backbone: PipelineBackbone) -> int:
    told = getattr(backbone, "told_guidance", False) or getattr(backbone, "_told_guidance", 0)
    """2 with classifier-free guidance, where a network is not told its guidance as a number."""
    return 2 if backbone.guidance > 1 and not told else 1


def stored_values(backbone: PipelineBackbone) -> dict[str, int]:
    """Values of the parts that a pipeline's folder holds and a run reads."""
    index = read_json(backbone.folder / "model_index.json")
    parts = ("text_encoder", "text_encoder_2", "text_encoder_3", "vae", backbone.component)
    return {p: parameters_of(index[p][1], backbone.folder / p) for p in parts if p in index}


def encoder_row(name: str) -> dict[str, Any]:
    folder = configs_of(name)
    encoder = unloaded_encoder(folder, fake(), BFLOAT16)
    classes = read_json(folder / "config.json").get("architectures")
    stored = parameters_of(classes[0], folder) if classes else FACENET_STORED
    return {"dim": encoder.dim, "stored_values": stored, "part": asdict(encoder_part(encoder, 512))}


def counted_models(names: list[str]) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for name in names:
        print(name, file=sys.stderr, flush=True)
        rows[name] = model_row(name)
    return rows


def whole_table(models: dict[str, Any]) -> dict[str, Any]:
    """The stored table with these rows in the place of its own; one that has every preset is made anew."""
    if models.keys() == PRESETS.keys():
        encoders = [*ENCODERS, PRESETS["mini"].encoder]
        return {"models": models, "encoders": {name: encoder_row(name) for name in encoders}}
    known = table()["models"] | models
    return {**table(), "models": {name: known[name] for name in PRESETS if name in known}}


@quiet_loading()
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("presets", nargs="*", help="default: all")
    parser.add_argument("--write", action="store_true", help="store what was counted in the package")
    options = parser.parse_args()
    models = counted_models(options.presets or list(PRESETS))
    if options.write:
        Path(str(files("sliderspace") / TABLE)).write_text(json.dumps(whole_table(models), indent=1) + "\n")
    print(json.dumps(models, indent=1))


if __name__ == "__main__":
    main()
