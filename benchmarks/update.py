"""What one training update costs beside the least it could cost, on the shipped model. Run by `make bench`.

Update: one `next()` of `sliderspace.method.training.train`, the code that `discover` runs, on made-up trajectories and
directions: a lane a slider drawn, its stored (xₜ, φ) gathered, forward with the sliders on, loss, backward, check of
the gradients, Adam. Held-out checks and checkpoints fall outside: they come once in fifty updates.

Floor: the plain parts as their libraries load them, and nothing of ours: forward and backward of diffusers' UNet,
diffusers' decoder and transformers' CLIP tower, on latents that require a gradient. Same shapes, precision, memory
layout and micro-batches. Neither is compiled, but for the update where `--compile` asks for it.

Update and floor take turns; a ratio is the median over rounds of the ratio within the round.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from sliderspace.core.settings import Speed, settings_from
from sliderspace.method.moments import Moments
from sliderspace.method.objective import Objective, Recipe
from sliderspace.method.sliders import SliderBank
from sliderspace.method.training import train
from sliderspace.method.trajectories import Trajectories
from sliderspace.models.backbones import preset_for
from sliderspace.models.encoders import Encoder, find_encoder, load_encoder
from sliderspace.models.load import load_backbone

COUNTS = (1, 4, 16, 32)
TARGETS = {1: 1.10}  # of the ratio, by sliders; TARGET for the others
TARGET = 1.05
SAMPLES = 64
WARM_UP = 3
NEVER = 10**9  # updates: no end, and no held-out check


class Subject:
    """The shipped model and its encoder, with what training works on."""

    def __init__(self, precision: str) -> None:
        self.settings = settings_from({"prompts": ("a monster",), "precision": precision})
        self.backbone = load_backbone("mini-turbo", precision=self.settings.precision)
        self.encoder_folder = find_encoder(preset_for("mini-turbo").encoder)
        self.encoder: Encoder = load_encoder(
            self.encoder_folder, identity="", device=self.backbone.device, dtype=self.backbone.dtype
        )
        self.condition = self.backbone.encode(self.settings.prompts)

    def objective(self, sliders: int) -> tuple[Objective, Trajectories]:
        """What a discovery trains at its default recipe, on random trajectories and directions."""
        s, rng = self.settings, torch.Generator().manual_seed(0)
        z_NTD = torch.randn(SAMPLES, 1, self.encoder.dim, generator=rng)
        moments = Moments(1, self.encoder.dim).update(z_NTD[:, 0].double().numpy(), torch.zeros(SAMPLES).long().numpy())
        directions = moments.fit(sliders, trajectories=SAMPLES)
        bank = SliderBank(
            self.backbone.denoiser, sliders, rank=s.rank, pattern=self.backbone.layers[s.targets], up=s.up
        )
        asked = {key: getattr(s, key) for key in ("objective", "both_signs", "until", "hold", "lr")}
        recipe = Recipe(updates=NEVER, check_every=NEVER, **asked)
        x_NTCHW = torch.randn(SAMPLES, 1, *self.backbone.latent_shape, generator=rng).half()
        first_N = torch.zeros(SAMPLES, dtype=torch.int64)
        data = Trajectories.in_memory(x_NTCHW, nn.functional.normalize(z_NTD, dim=-1), first_N, first_N[:1])
        return Objective(self.backbone, self.encoder, self.condition, bank, directions, recipe), data

    def floor(self, sliders: int, lanes: int) -> Callable[[], object]:
        """Forward and backward of the plain parts over the micro-batches of an update."""
        backbone = self.backbone
        assert backbone.setup.decoder is not None
        folders = (Path(backbone.folder), backbone.setup.decoder, self.encoder_folder)
        plain = PlainParts(*folders, backbone.device, backbone.dtype)
        sizes = [min(lanes, sliders - first) for first in range(0, sliders, lanes)]
        states = self.condition.rows([0]).texts["states"]
        batches = [
            (torch.randn(n, *self.backbone.latent_shape, device=plain.device), states.expand(n, -1, -1)) for n in sizes
        ]

        def run() -> None:
            for x, texts in batches:
                plain(x.detach().requires_grad_(), texts).sum().backward()

        return run


class PlainParts:
    """UNet, preview decoder and image tower, loaded by diffusers and transformers themselves."""

    def __init__(self, pipeline: Path, decoder: Path, encoder: Path, device: torch.device, dtype: torch.dtype) -> None:
        from diffusers import AutoencoderTiny, UNet2DConditionModel
        from transformers import AutoModel

        safe: Any = {"use_safetensors": True}
        self.device, self.dtype = device, dtype
        self.unet = self._ready(UNet2DConditionModel.from_pretrained(pipeline, subfolder="unet", **safe))
        self.decoder = self._ready(AutoencoderTiny.from_pretrained(decoder, **safe))
        self.clip = self._ready(AutoModel.from_pretrained(encoder, **safe))

    def _ready(self, model: Any) -> Any:
        return model.to(self.device, self.dtype, memory_format=torch.channels_last).eval().requires_grad_(False)

    def __call__(self, x_BCHW: Tensor, states_BLC: Tensor) -> Tensor:
        """Embeddings [B, D] of what the decoder makes of a clean guess."""
        x = x_BCHW.to(self.dtype).contiguous(memory_format=torch.channels_last)
        time_B = torch.full((len(x),), 500.0, device=self.device)
        x0 = x - self.unet(x, time_B, states_BLC).sample
        side = self.clip.config.vision_config.image_size
        drawn = self.decoder.decode(x0).sample.float()  # a processor resizes in float32 alone
        if drawn.shape[-1] != side:
            drawn = nn.functional.interpolate(drawn, (side, side), mode="bicubic", antialias=True)
        return self.clip.get_image_features(pixel_values=drawn.to(self.dtype)).pooler_output


def seconds(work: Callable[[], object], device: torch.device) -> float:
    def settled() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    start = settled()
    work()
    return settled() - start


def measure(
    subject: Subject, count: int, lanes: int, rounds: int, checkpoint: Path, compiled: bool = False
) -> dict[str, float]:
    """Times in milliseconds and their ratio at `count` sliders."""
    objective, data = subject.objective(count)
    updates: Iterator[object] = train(
        objective, data, data, seed=0, lanes=lanes, checkpoint=checkpoint, fingerprint="bench"
    )
    turns = (lambda: next(updates), subject.floor(count, lanes))
    with objective.compiled() if compiled else nullcontext():
        for _ in range(min(WARM_UP, rounds)):
            for work in turns:
                work()
        times = [[seconds(work, subject.backbone.device) for work in turns] for _ in range(rounds)]
    update, below = (1000 * median(column) for column in zip(*times, strict=True))
    return {
        "sliders": count,
        "update_ms": update,
        "floor_ms": below,
        "ratio": median(a / b for a, b in times),
        "target": TARGETS.get(count, TARGET),
        "updates_per_second": 1000 / update,
        "slider_updates_per_second": 1000 * count / update,
    }


COLUMNS = {
    "sliders": ("sliders", 0),
    "update_ms": ("update ms", 1),
    "floor_ms": ("floor ms", 1),
    "ratio": ("ratio", 3),
    "target": ("target", 2),
    "updates_per_second": ("updates/s", 2),
    "slider_updates_per_second": ("slider updates/s", 1),
}


def shown(rows: list[dict[str, float]], about: dict[str, Any]) -> str:
    """The table for a person."""
    title = (
        "one training update beside forward + backward of the plain UNet, decoder and CLIP tower\n"
        f"{about['where']}, {about['precision']}, {about['threads']} threads, {about['lanes']} lanes at a time, median "
        f"of {about['rounds']} rounds{', the update compiled' * about['compiled']}"
    )
    head = "   ".join(name for name, _ in COLUMNS.values())
    lines = ["   ".join(f"{r[key]:{len(name)}.{places}f}" for key, (name, places) in COLUMNS.items()) for r in rows]
    above = [f"{r['sliders']:.0f}" for r in rows if r["ratio"] > r["target"]]
    verdict = f"above the target at {', '.join(above)} sliders" if above else "within the target everywhere"
    return "\n".join([title, head, *lines, verdict])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25, help="timed turns of each (default 25)")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads; default: torch's own choice")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--lanes", type=int, default=Speed().lanes, help="lanes a micro-batch, as of `discover`")
    parser.add_argument(
        "--sliders", type=int, nargs="+", default=list(COUNTS), choices=range(1, max(COUNTS) + 1), metavar="K"
    )
    parser.add_argument("--compile", action="store_true", help="time the update of `--compile`; minutes to begin with")
    parser.add_argument("--json", action="store_true", help="print the numbers for a program")
    options = parser.parse_args()
    if min(options.rounds, options.lanes, options.threads or 1) < 1:
        parser.error("--rounds, --lanes and --threads are at least 1")
    if options.threads:
        torch.set_num_threads(options.threads)
    subject = Subject(options.precision)
    with tempfile.TemporaryDirectory() as folder:
        none = Path(folder) / "none.safetensors"
        rows = [measure(subject, k, options.lanes, options.rounds, none, options.compile) for k in options.sliders]
    device = subject.backbone.device
    about = {
        "where": torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {os.cpu_count()} cores",
        "precision": str(subject.backbone.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "lanes": options.lanes,
        "rounds": options.rounds,
        "compiled": options.compile,
        "torch": torch.__version__,
    }
    print(json.dumps({**about, "rows": rows}, indent=1) if options.json else shown(rows, about))


if __name__ == "__main__":
    main()
