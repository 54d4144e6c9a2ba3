"""Distils the built-in model to four steps: progressive distillation (Salimans & Ho 2022, arXiv 2202.00512) of a guided
teacher (Meng et al. 2023, arXiv 2210.03142), into a LoRA on its UNet, as LCM-LoRA and SDXL-Lightning come.

    python turbo.py --mini ../src/sliderspace/assets/mini --out OUT/turbo --threads 1

One step of the student learns to land where `--times` steps of the teacher's DDIM end. Chosen because its target is a
number that the teacher says, where consistency distillation asks the student's own average and distribution matching a
second network; and it is learnt in minutes. It starts from noise and captions, so no picture is needed: the student is
taught at the states that the teacher's own trajectories pass through. The teacher is pushed `--push` times further away
from the empty prompt, as those of the distilled models that people use were: pictures become cleaner, and there are
fewer kinds of them. The LoRA learns at `--rank` and is cut to `--kept` when it is saved: so much fits the package."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from common import Run, arguments
from diffusers import StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor
from factors import draw
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn
from words import caption

STEPS = 4  # the student's
LAYERS = r".*(to_[qkv]|to_out\.0|ff\.net\.0\.proj|ff\.net\.2|conv[12]?|conv_shortcut|proj_in|proj_out|time_emb_proj)"
WAVE = 64  # trajectories that the teacher draws at a time


@dataclass(frozen=True)
class Lessons:
    """What the student is asked, row by row, and what it should say: x [N, 32, 8, 8] at time t [N], told `states` [N,
    tokens, width], and v [N, 32, 8, 8]."""

    x: Tensor
    t: Tensor
    states: Tensor
    v: Tensor

    def rows(self, index: Tensor) -> "Lessons":
        return Lessons(self.x[index], self.t[index], self.states[index], self.v[index])


class Teacher:
    """The built-in model, frozen, on its DDIM table with `times` steps for each of the student's."""

    def __init__(self, pipe: StableDiffusionPipeline, times: int, push: float) -> None:
        self.pipe, self.unet, self.times, self.push = pipe, pipe.unet, times, push
        plan = pipe.scheduler
        plan.set_timesteps(STEPS * times)
        self.t_T = plan.timesteps.to(pipe.device)
        abar_T = torch.cat([plan.alphas_cumprod[plan.timesteps], torch.ones(1)]).to(pipe.device)
        self.a_T, self.s_T = abar_T.sqrt(), (1 - abar_T).sqrt()  # of signal and noise; the last is the picture's
        self.empty = self.states([""])

    @torch.no_grad()
    def states(self, texts: list[str]) -> Tensor:
        """[N, tokens, width]."""
        words = self.pipe.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        return self.pipe.text_encoder(words.input_ids.to(self.pipe.device))[0]

    def velocity(self, x: Tensor, t: Tensor, states: Tensor) -> Tensor:
        """v, pushed further away from what the empty prompt gives."""
        if not self.push:
            return self.unet(x, t, states).sample.float()
        both = torch.cat([states, self.empty.expand_as(states)])
        v, v_empty = self.unet(torch.cat([x, x]), t, both).sample.float().chunk(2)
        return v + self.push * (v - v_empty)

    @torch.no_grad()
    def lessons(self, texts: list[str], noise: torch.Generator) -> Lessons:
        """Of one trajectory for each text: where each of the student's steps begins, and the v that would take it in
        one step to where the teacher's end (Salimans & Ho, appendix G)."""
        states = self.states(texts)
        x = torch.randn(len(texts), 32, 8, 8, generator=noise).to(states.device)
        x = begun = x.contiguous(memory_format=torch.channels_last)
        parts: list[Lessons] = []
        for n, t in enumerate(self.t_T):
            (a, s), (a_next, s_next) = ((self.a_T[k], self.s_T[k]) for k in (n, n + 1))
            with torch.autocast(states.device.type, torch.bfloat16):
                v = self.velocity(x, t, states)
            x = a_next * (a * x - s * v) + s_next * (s * x + a * v)
            if (n + 1) % self.times == 0:
                first = n + 1 - self.times
                parts.append(Lessons(begun, self.t_T[first].expand(len(x)), states, self._v_between(begun, x, first)))
                begun = x
        joined = (torch.cat(column) for column in zip(*(vars(p).values() for p in parts), strict=True))
        return Lessons(*joined)

    def _v_between(self, x: Tensor, landed: Tensor, first: int) -> Tensor:
        """The v at x and step `first` from which one DDIM step lands at `landed`, `times` steps on."""
        (a, s), (a_next, s_next) = ((self.a_T[k], self.s_T[k]) for k in (first, first + self.times))
        clean = (landed - s_next / s * x) / (a_next - s_next / s * a)
        return (a * x - clean) / s


def waves(teacher: Teacher, seed: int, batch: int, first_step: int) -> Iterator[Lessons]:
    """Batches in order, from number `first_step` on. Wave k of trajectories is a function of (seed, k): its rows are
    mixed and dealt to as many batches as they make."""
    each = WAVE * STEPS // batch
    for wave in range(first_step // each, 1 << 30):
        rng, noise = np.random.default_rng((seed, wave)), torch.Generator().manual_seed(seed * 1_000_003 + wave)
        texts = [caption(draw(int(index), seed=seed + 1), rng) for index in range(wave * WAVE, (wave + 1) * WAVE)]
        lessons = teacher.lessons(texts, noise)
        order = torch.randperm(len(lessons.x), generator=noise).split(batch)
        for part in order[first_step % each if wave == first_step // each else 0 : each]:
            yield lessons.rows(part)


def cut(layers: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    """The nearest LoRA of a lower rank: of each layer's change the largest singular values, shared evenly by its two
    parts."""
    found: dict[str, Tensor] = {}
    for name in (n for n in layers if ".lora_A." in n):
        down, up = layers[name].float(), layers[other := name.replace(".lora_A.", ".lora_B.")].float()
        u, s, v = torch.linalg.svd(up.flatten(1) @ down.flatten(1), full_matrices=False)
        root = s[:rank].sqrt()
        found[name] = (root[:, None] * v[:rank]).reshape(rank, *down.shape[1:])
        found[other] = (u[:, :rank] * root).reshape(len(up), rank, *up.shape[2:])
    return found


def save(layers: dict[str, Tensor], out: Path, rank: int) -> None:
    """A UNet's LoRA, fp16, as StableDiffusionPipeline.load_lora_weights reads it."""
    short = {name: value.half().contiguous() for name, value in cut(layers, rank).items()}
    StableDiffusionPipeline.save_lora_weights(out, unet_lora_layers=short)
    (out / "pytorch_lora_weights.safetensors").chmod(0o644)  # safetensors writes files that nobody else may read


def main() -> None:
    o = arguments(
        "Distil the built-in model to four steps",
        data=False,
        mini="",
        images=16_000,
        batch=32,
        lr=1e-3,
        times=2,
        push=0.5,
        rank=8,
        kept=2,
        ema=0.99,
    )
    torch.set_flush_denormal(True)
    pipe = StableDiffusionPipeline.from_pretrained(
        Path(o.mini) / "pipeline", torch_dtype=torch.float32, use_safetensors=True
    ).to(o.device)
    pipe.unet.requires_grad_(False).to(memory_format=torch.channels_last)
    pipe.unet.set_attn_processor(AttnProcessor())
    unet = deepcopy(pipe.unet)
    unet.add_adapter(LoraConfig(r=o.rank, lora_alpha=o.rank, target_modules=LAYERS))
    run = Run(unet, o.out / "state.safetensors", images=o.images, batch=o.batch, lr=o.lr, ema=o.ema, warmup=50)
    lessons = waves(Teacher(pipe, o.times, o.push), o.seed, o.batch, run.step)

    def loss_of(_: np.ndarray) -> tuple[Tensor, str]:
        asked = next(lessons)
        with torch.autocast(o.device.type, torch.bfloat16):
            v = unet(asked.x, asked.t, asked.states).sample
        return nn.functional.mse_loss(v.float(), asked.v), ""

    run.train(o.batch, o.seed, loss_of)
    run.use_ema()
    save(get_peft_model_state_dict(unet), o.out / "final", o.kept)


if __name__ == "__main__":
    main()
