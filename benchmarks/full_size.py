"""One training update of a model at full size with random weights: time, peak memory, and both beside what `--dry-run`
says.

    python benchmarks/full_size.py --model sdxl-dmd2 --lanes 1
    python benchmarks/full_size.py --model flux-schnell --lanes 1,4,8,16 --quantize 4bit --checkpointing

Nothing is fetched or stored: the models are built from their configurations in memory. An update is what
`sliderspace.method.training` does: forward of denoiser, decoder and encoder with a slider on in each row, loss,
backward, Adam. Random weights take the time and memory of trained ones. Peak memory is torch's own count on a GPU;
on a processor it is the whole process's, so give one lane count at a time there.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch
from counting import Cost, largest_layer_bytes, update_cost, weight_bytes
from torch import Tensor, nn
from unloaded import build, checkpoint, empty_model, fake, filled

from sliderspace.core.settings import Settings, settings_from
from sliderspace.method.objective import Recipe
from sliderspace.method.sliders import SliderBank
from sliderspace.models.backbones import Condition
from sliderspace.models.backbones.pipeline import PipelineBackbone
from sliderspace.models.device import device_for, precision_for
from sliderspace.models.encoders import Encoder
from sliderspace.models.quiet import quiet_loading
from sliderspace.plan.card import GIB, matmul_rate
from sliderspace.plan.one_lane import lanes_of, objective_for

SLIDERS, TRAJECTORIES = 32, 5000  # what the time is projected for


def random(device: torch.device) -> Callable[[Tensor], Tensor]:
    """Parameters that keep activations finite: norms shrink what convolutions and products blow up."""
    return lambda parameter: torch.empty_like(parameter, device=device).normal_(0, 0.02)


def random_like(texts: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Encoded prompts of the same shapes; what is no fake tensor (a length) is kept."""
    return {
        n: t.to(device) if type(t) is Tensor else torch.randn(t.shape, device=device).to(t.dtype)
        for n, t in texts.items()
    }


def quantised(layer: nn.Linear, quantize: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A linear layer of bitsandbytes with random weights in the place of one on the meta device."""
    import bitsandbytes as bnb

    weight, bias = random(device)(layer.weight.to(dtype)), layer.bias is not None
    if quantize == "4bit":
        made = bnb.nn.Linear4bit(
            layer.in_features, layer.out_features, bias=bias, compute_dtype=dtype, quant_type="nf4", device="meta"
        )
        made.weight = bnb.nn.Params4bit(weight, requires_grad=False, quant_type="nf4", compress_statistics=False).to(
            device
        )
    else:
        made = bnb.nn.Linear8bitLt(
            layer.in_features, layer.out_features, bias=bias, has_fp16_weights=False, device="meta"
        )
        made.weight = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False).to(device)
    return made


def quantised_denoiser(backbone: PipelineBackbone, quantize: str) -> Any:
    """The denoiser with every linear layer quantised, one at a time, so that it never lies in memory whole."""
    model = empty_model(backbone.denoiser_class, backbone.setup.weights or backbone.folder / backbone.component)
    for path, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear):
            model.set_submodule(path, quantised(layer, quantize, backbone.device, backbone.dtype))
    return filled(model, random(backbone.device), backbone.dtype, backbone.device)


class Subject:
    """The models of a discovery, in memory with random weights and again without memory, and their updates."""

    def __init__(self, settings: Settings, device: torch.device, *, checkpointing: bool) -> None:
        self.settings, self.device = settings, device
        dtype = precision_for(device, settings.precision)
        self.backbone, self.encoder = build(settings, random(device), dtype, device)
        self.unloaded, self.unloaded_encoder = build(settings, fake(), dtype)
        self.shapes = self.unloaded.encode(["a prompt"])
        self.condition = Condition(*(random_like(t, device) for t in (self.shapes.texts, self.shapes.empty)))
        if settings.quantize != "none":
            self.backbone.denoiser = quantised_denoiser(self.backbone, settings.quantize)
        if checkpointing:
            for backbone in (self.backbone, self.unloaded):
                checkpoint(backbone)

    def update(self, lanes: int) -> tuple[Callable[[], object], int]:
        """A whole update of `lanes` sliders, and the bytes that its sliders and their optimiser keep."""
        objective, data = self._objective(self.backbone, self.encoder, self.condition, lanes)
        adam = torch.optim.Adam(objective.bank.trained(), lr=1e-3)

        def work() -> None:
            adam.zero_grad(set_to_none=True)
            loss_B, _ = objective.descend(data, lanes_of(lanes))
            if not bool(torch.isfinite(loss_B).all()):
                raise SystemExit(
                    "the loss of the random weights is not finite: these times and sizes are not worth having"
                )
            adam.step()

        # A value, and of a trained one two moments of Adam; its gradient is counted with the activations.
        return work, sum(p.numel() * (12 if p.requires_grad else 4) for p in objective.bank.parameters())

    def counted(self, lanes: int) -> Cost:
        """The same without memory."""
        return update_cost(*self._objective(self.unloaded, self.unloaded_encoder, self.shapes, lanes), lanes)

    def _objective(self, backbone: PipelineBackbone, encoder: Encoder, condition: Condition, lanes: int) -> Any:
        s = self.settings
        bank = SliderBank(backbone.denoiser, lanes, pattern=backbone.layers[s.targets], rank=s.rank, up=s.up)
        return objective_for(
            backbone, encoder, condition, bank, Recipe(updates=1, lr=1e-3, objective=s.objective, hold=s.hold)
        )

    def preview(self, images: int) -> Callable[[], object]:
        """One sampling step of `images` images, their previews decoded and embedded."""
        x, rows = self.backbone.start([0] * images), self.condition.rows([0] * images)
        step_B = torch.zeros(images, dtype=torch.int64, device=self.device)

        @torch.no_grad()
        def work() -> None:
            self.encoder(self.backbone.decode(self.backbone.predict(x, step_B, rows)))

        return work

    @property
    def weights(self) -> int:
        """Bytes, by the same count as the plan's."""
        quantize, denoiser = self.settings.quantize, self.unloaded.denoiser
        unpacked = largest_layer_bytes(denoiser) if quantize != "none" else 0
        return (
            weight_bytes(denoiser, quantize)
            + unpacked
            + weight_bytes(self.backbone.decoder)
            + weight_bytes(self.encoder)
        )


def timed(work: Callable[[], object], device: torch.device, rounds: int) -> tuple[float, float]:
    """Median seconds after one call to warm up, and the peak of memory in GiB over all of them."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)

    def seconds() -> float:
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    times = [seconds() for _ in range(rounds + 1)]
    peak = (
        torch.cuda.max_memory_allocated(device)
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return median(times[1:] or times), peak / GIB


def measured(subject: Subject, lanes: int, rounds: int, rate: float) -> dict[str, Any]:
    """One row of the table."""
    cost = subject.counted(lanes)
    try:
        work, state = subject.update(lanes)
        seconds, peak = timed(work, subject.device, rounds)
    except torch.OutOfMemoryError:
        return {"lanes": lanes, "fits": False}
    return {
        "lanes": lanes,
        "fits": True,
        "seconds": seconds,
        "slider_updates_per_second": lanes / seconds,
        "peak_gib": peak,
        "counted_gib": (subject.weights + state + cost.peak) / GIB,
        "tflop": cost.flops / 1e12,
        "share_of_matrix_rate": cost.flops / seconds / rate,
    }


def projected(subject: Subject, rows: list[dict[str, Any]], batch: int, rounds: int) -> dict[str, float]:
    """Hours of sampling and training for SLIDERS × TRAJECTORIES, at the best lane count."""
    seconds, peak = timed(subject.preview(batch), subject.device, rounds)
    best = max((r["slider_updates_per_second"] for r in rows if r["fits"]), default=float("nan"))
    return {
        "batch": batch,
        "sampling_peak_gib": peak,
        "sample_hours": TRAJECTORIES * subject.backbone.steps * seconds / batch / 3600,
        "train_hours": SLIDERS * subject.settings.updates / best / 3600,
    }


def shown(about: dict[str, Any], rows: list[dict[str, Any]], ahead: dict[str, float]) -> str:
    """All of it for a person."""
    lines = [", ".join(f"{name} {value}" for name, value in about.items())]
    lines.append("lanes  s/update  slider updates/s  peak GiB  counted GiB  TFLOP  of matrix rate")
    for r in rows:
        if not r["fits"]:
            lines.append(f"{r['lanes']:5}  does not fit")
            continue
        lines.append(
            f"{r['lanes']:5}  {r['seconds']:8.3f}  {r['slider_updates_per_second']:16.3f}  {r['peak_gib']:8.2f}  "
            f"{r['counted_gib']:11.2f}  "
            f"{r['tflop']:5.2f}  {r['share_of_matrix_rate']:14.1%}"
        )
    lines.append(
        f"projected for {SLIDERS} sliders × {TRAJECTORIES:,} trajectories: sampling {ahead['sample_hours']:.2f} h "
        f"({ahead['batch']} images at a time, peak {ahead['sampling_peak_gib']:.2f} GiB), training "
        f"{ahead['train_hours']:.2f} h"
    )
    return "\n".join(lines)


@quiet_loading()
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--model", default="sdxl-dmd2", help="a preset, a repository whose configurations are shipped, or a folder"
    )
    parser.add_argument("--lanes", default="1", help="sliders a time, for example 1,4,8,16")
    parser.add_argument("--quantize", choices=("none", "8bit", "4bit"), default="none")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--resolution", type=int, default=None, help="pixels; default: the preset's")
    parser.add_argument("--decoder", default="auto", help="auto, full, or the repository of a small decoder")
    parser.add_argument(
        "--encoder", default="", help="a name, or a folder of configurations; default: the preset's own"
    )
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--matrix", type=int, default=None, help="side of the matrices whose rate is the yardstick")
    parser.add_argument("--targets", default=Settings.model_fields["targets"].default)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=3, help="timed updates after one to warm up; 0: time that one")
    parser.add_argument(
        "--batch", type=int, default=None, help="images a time for the projection; default: the most lanes"
    )
    parser.add_argument("--json", action="store_true", help="print the numbers for a program")
    options = parser.parse_args()
    lanes = [int(n) for n in options.lanes.split(",")]
    chosen = {k: getattr(options, k) for k in ("quantize", "resolution", "decoder", "encoder", "precision", "targets")}
    settings = settings_from({"prompts": ("a toy",), "backbone": options.model, **chosen})
    device = device_for(options.device)
    start = time.perf_counter()
    subject = Subject(settings, device, checkpointing=options.checkpointing)
    values = sum(p.numel() for p in subject.unloaded.denoiser.parameters())
    rate = matmul_rate(device, subject.backbone.dtype, options.matrix or (8192 if device.type == "cuda" else 1024))
    about = {
        "model": options.model,
        "values": f"{values:,}",
        "pixels": subject.backbone.image_size,
        "precision": str(subject.backbone.dtype).removeprefix("torch."),
        "base": options.quantize,
        "checkpointing": options.checkpointing,
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"processor, {torch.get_num_threads()} threads",
        "matrix rate": f"{rate / 1e12:.2f} TFLOP/s",
        "torch": torch.__version__,
    }
    rows = [measured(subject, n, options.rounds, rate) for n in lanes]
    ahead = projected(subject, rows, options.batch or max(lanes), options.rounds)
    took = time.perf_counter() - start
    print(
        json.dumps({**about, "rows": rows, "projected": ahead, "took": took}, indent=1)
        if options.json
        else shown(about, rows, ahead)
    )


if __name__ == "__main__":
    main()
