"""Sharpens the distilled model: its LoRA goes on against a critic that tells its clean guesses from real pictures.

    python adversarial.py --data OUT/data --latents OUT/unet --mini ../src/sliderspace/assets/mini \\
        --lora OUT/turbo/final --out OUT/sharp

A guess that a squared error has taught is a mean of all that may be meant, and four of them are soft where a teacher of
this size is unsure itself. The critic, as in adversarial distillation in latents (Sauer et al. 2024, arXiv 2403.12015;
DMD2, Yin et al. 2024, arXiv 2405.14867), is the model's own UNet learning on, with three small heads on its features:
told the caption, it sees real latents and guesses with equal noise. It learns `--alone` updates before it is heard:
asked at once, it does not catch up with a student that is sharp already. The student is taught two of the steps of its
own way from noise. A squared error to where it began (`--anchor`) keeps seeds and prompts what they were.

The LoRA to go on from may have any rank up to `--rank`; what is saved is cut to `--kept`. With `--share` below 1 it
lies that share of the way from there to where it ended (as in Wortsman et al. 2022, arXiv 2109.01903): nearly as sharp,
and less often odd."""

import time
from collections.abc import Collection
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import torch
from classes import table
from common import Run, arguments
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn
from turbo import LAYERS, STEPS, Teacher, save
from unet import KEPT
from words import caption

STEP_SHARE = (0.15, 0.2, 0.3, 0.35)  # how often the student is taught each of its steps: the later, the more is seen
NOISIEST = 600  # of 1000: with more noise than this, real and drawn latents look alike
WIDTH = 96  # channels of a head
ENDLESS = 10**9  # pictures: a critic whose rate cools down is fooled soon


class Critic(nn.Module):
    """Noised latents [B, 32, 8, 8] at t [B], told states -> a score a place [B, places]: above 0 for real ones."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet
        self._features: list[Tensor] = []
        parts = (unet.down_blocks[0].attentions[0], unet.mid_block, unet.up_blocks[1].attentions[-1])
        widths = (unet.config.block_out_channels[i] for i in (0, 1, 0))
        for part in parts:
            part.register_forward_hook(self._keep)
        self.heads = nn.ModuleList(self._head(width) for width in widths)

    def _keep(self, _: nn.Module, __: object, out: object) -> None:
        self._features.append(out[0] if isinstance(out, tuple) else getattr(out, "sample", out))

    @staticmethod
    def _head(width: int) -> nn.Sequential:
        return nn.Sequential(
            nn.GroupNorm(16, width, affine=False),
            nn.Conv2d(width, WIDTH, 1),
            nn.SiLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, 1, 1),
            nn.GroupNorm(8, WIDTH),
            nn.SiLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, 1, 1),
            nn.SiLU(),
            nn.Conv2d(WIDTH, 1, 1),
        )

    def forward(self, x: Tensor, t: Tensor, states: Tensor) -> Tensor:
        self._features.clear()
        with torch.autocast(x.device.type, torch.bfloat16):
            self.unet(x.contiguous(memory_format=torch.channels_last), t, states)
        scores = [head(z.float()).flatten(1) for head, z in zip(self.heads, self._features, strict=True)]
        self._features.clear()
        return torch.cat(scores, 1)


class Steps:
    """The student's way from noise to a picture, on its teacher's table."""

    def __init__(self, teacher: Teacher) -> None:
        self.t_T, self.a_T, self.s_T = teacher.t_T, teacher.a_T, teacher.s_T

    def guess(self, unet: UNet2DConditionModel, x: Tensor, n: int, states: Tensor) -> tuple[Tensor, Tensor]:
        """Clean latents and noise that a network sees in x before step n."""
        with torch.autocast(x.device.type, torch.bfloat16):
            v = unet(x, self.t_T[n], states).sample
        a, s = self.a_T[n], self.s_T[n]
        return a * x - s * v.float(), s * x + a * v.float()

    def taught(
        self, unet: UNet2DConditionModel, x: Tensor, states: Tensor, steps: Collection[int]
    ) -> list[tuple[int, Tensor, Tensor]]:
        """Along the way from noise x, of each of some steps: its number, where it begins, and the clean guess there,
        differentiable."""
        found: list[tuple[int, Tensor, Tensor]] = []
        for n in range(max(steps) + 1):
            with torch.set_grad_enabled(torch.is_grad_enabled() and n in steps):
                clean, noise = self.guess(unet, x, n, states)
            if n in steps:
                found.append((n, x, clean))
            x = (self.a_T[n + 1] * clean + self.s_T[n + 1] * noise).detach()
        return found


def noised(z: Tensor, abar: Tensor, rng: np.random.Generator, copies: int = 1) -> tuple[Tensor, Tensor]:
    """Latents with a little or much noise, and how much: t [B]. Row b of each of `copies` equal parts gets the same."""
    many = len(z) // copies
    t = torch.from_numpy((rng.random(many) ** 1.3 * NOISIEST).astype(np.int64)).to(z.device).repeat(copies)
    a, s = abar[t].sqrt().view(-1, 1, 1, 1), (1 - abar[t]).sqrt().view(-1, 1, 1, 1)
    return a * z + s * torch.randn_like(z[:many]).repeat(copies, 1, 1, 1), t


def load_student(unet: UNet2DConditionModel, rank: int, lora: Path) -> UNet2DConditionModel:
    """A copy of the UNet with a LoRA as `turbo.save` writes it, of at most that rank; what is left learns from
    nothing."""
    student = deepcopy(unet)
    student.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=LAYERS))
    begun = load_file(lora / "pytorch_lora_weights.safetensors")
    values = get_peft_model_state_dict(student)
    for name, value in values.items():
        side, given = int(".lora_B." in name), begun[f"unet.{name}"].float()
        rest = value.narrow(side, 0, rank - given.shape[side])
        values[name] = torch.cat([given, torch.zeros_like(rest) if side else rest], side)
    set_peft_model_state_dict(student, values)
    return student


def between(first: dict[str, Tensor], second: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """The LoRA whose change of each layer is the mean of two, the second weighing `share`; its rank is the sum of
    theirs."""
    found: dict[str, Tensor] = {}
    for down in (name for name in first if ".lora_A." in name):
        up = down.replace(".lora_A.", ".lora_B.")
        found[down] = torch.cat([first[down].float(), second[down].float()])
        found[up] = torch.cat([(1 - share) * first[up].float(), share * second[up].float()], 1)
    return found


def main() -> None:
    o = arguments(
        "Sharpen the distilled model",
        latents="",
        mini="",
        lora="",
        images=32_000,
        batch=32,
        lr=2e-4,
        critic_lr=1.5e-4,
        alone=250,
        anchor=0.15,
        weight=0.3,
        plain=0.5,
        rank=12,
        kept=10,
        share=1.0,
        ema=0.996,
    )
    torch.set_flush_denormal(True)
    pipe = StableDiffusionPipeline.from_pretrained(
        Path(o.mini) / "pipeline", torch_dtype=torch.float32, use_safetensors=True
    ).to(o.device)
    pipe.unet.requires_grad_(False).to(memory_format=torch.channels_last)
    pipe.unet.set_attn_processor(AttnProcessor())
    abar = pipe.scheduler.alphas_cumprod.to(o.device)
    teacher = Teacher(pipe, 1, 0.0)
    steps = Steps(teacher)
    student = load_student(pipe.unet, o.rank, Path(o.lora))
    first = get_peft_model_state_dict(deepcopy(student))
    begun = deepcopy(student).requires_grad_(False)
    critic = Critic(pipe.unet.requires_grad_(True))
    creatures = table(o.data, "train")
    z_all = torch.cat([load_file(path)["latents"] for path in sorted(Path(o.latents).glob("latents-train*"))])
    run = partial(Run, batch=o.batch, betas=(0.0, 0.99), decay=0.0, warmup=60)
    learner = run(student, o.out / "state.safetensors", images=o.images, lr=o.lr, ema=o.ema)
    judge = run(critic, o.out / "critic.safetensors", images=ENDLESS, lr=o.critic_lr, ema=0.0, quick={"heads": 10.0})

    saved = time.time()
    for index in judge.batches(len(z_all), o.seed):
        if learner.seen >= learner.total:
            break
        rng = np.random.default_rng((o.seed, 3, judge.step))
        kept = [KEPT[:1] if rng.random() < o.plain else KEPT for _ in index]
        states = teacher.states([caption(creatures[i], rng, keep) for i, keep in zip(index, kept, strict=True)])
        real = z_all[index].to(o.device).float()
        x = torch.randn_like(real).contiguous(memory_format=torch.channels_last)
        heard = judge.step >= o.alone
        with torch.set_grad_enabled(heard):
            taught = steps.taught(student, x, states, rng.choice(STEPS, 2, replace=False, p=STEP_SHARE).tolist())
        if heard:
            critic.requires_grad_(False)
            shown, t = noised(torch.cat([clean for *_, clean in taught]), abar, rng)
            wanted = -critic(shown, t, states.repeat(len(taught), 1, 1)).mean()
            n, x, clean = taught[rng.integers(len(taught))]
            with torch.no_grad():
                before, _ = steps.guess(begun, x, n, states)
            learner.update(o.weight * wanted + o.anchor * nn.functional.mse_loss(clean, before))
        critic.requires_grad_(True)
        either = torch.from_numpy(rng.random(len(real)) < 0.5).to(o.device).view(-1, 1, 1, 1)
        drawn = torch.where(either, *(clean.detach() for *_, clean in taught))
        shown, t = noised(torch.cat([real, drawn]), abar, rng, copies=2)
        on_real, on_drawn = critic(shown, t, states.repeat(2, 1, 1)).chunk(2)
        judge.update((1 - on_real).relu().mean() + (1 + on_drawn).relu().mean())
        if time.time() - saved > 60 or learner.seen >= learner.total:
            saved = time.time()
            told = (on_real.mean(1) > on_drawn.mean(1)).float().mean().item()
            print(f"{learner.seen:>8} images  step {judge.step}  told apart {told:.2f}", flush=True)
            learner.save()
            judge.save()
    learner.use_ema()
    save(between(first, get_peft_model_state_dict(student), o.share), o.out / "final", o.kept)


if __name__ == "__main__":
    main()
