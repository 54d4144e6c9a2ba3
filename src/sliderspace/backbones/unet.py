"""The latent UNet family: a `diffusers` StableDiffusionPipeline folder with a deterministic DDIM-type sampler."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sliderspace.backbones.base import Backbone, Condition
from sliderspace.errors import BadInput


def clean_from_noise(x: Tensor, eps: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """x̃₀ = (xₜ − √(1−ᾱₜ)·ε)/√ᾱₜ, with a = √ᾱₜ > 0 and s = √(1−ᾱₜ) (paper, step 1 of the method)."""
    return (x - s * eps) / a


def clean_from_velocity(x: Tensor, v: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """x̃₀ = √ᾱₜ·xₜ − √(1−ᾱₜ)·v (Salimans & Ho 2022); finite at zero terminal SNR, where a = 0."""
    return a * x - s * v


def clean_from_flow(x: Tensor, v: Tensor, sigma: Tensor) -> Tensor:
    """x̃₀ = xₜ − σₜ·v, for xₜ = (1−σₜ)·x₀ + σₜ·noise and v = noise − x₀."""
    return x - sigma * v


class UNetBackbone(Backbone):
    """SD-type pipelines. Sampling is DDIM with η = 0 on the scheduler's own ᾱ table and timestep spacing.

    `dtype` is the precision of the networks; latents and sampler arithmetic stay float32.
    """

    def __init__(
        self, folder: Path, *, name: str, identity: str, steps: int, guidance: float, device: torch.device, dtype: torch.dtype
    ) -> None:
        from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        if steps < 1:
            raise BadInput(f"{steps} sampling steps asked for: at least 1 is needed")
        _check_parts(folder)
        self.name, self.identity, self.steps, self.guidance = name, identity, steps, guidance
        self.device, self.dtype = device, dtype
        self.tokenizer: Any = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
        self.text: Any = _frozen(
            CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", use_safetensors=True), device, torch.float32
        )
        self.denoiser: Any = _frozen(UNet2DConditionModel.from_pretrained(folder, subfolder="unet", use_safetensors=True), device, dtype)
        self.vae: Any = _frozen(AutoencoderKL.from_pretrained(folder, subfolder="vae", use_safetensors=True), device, dtype)
        scheduler: Any = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
        scheduler.set_timesteps(steps)
        self._set_tables(scheduler)
        config = self.denoiser.config
        self.latent_shape = (config.in_channels, config.sample_size, config.sample_size)
        self.image_size = config.sample_size * 2 ** (len(self.vae.config.block_out_channels) - 1)

    def _set_tables(self, scheduler: Any) -> None:
        kinds = {"epsilon": clean_from_noise, "v_prediction": clean_from_velocity}
        if scheduler.config.prediction_type not in kinds:
            raise BadInput(f"{self.name} predicts '{scheduler.config.prediction_type}'; known are {', '.join(kinds)}")
        self.to_clean = kinds[scheduler.config.prediction_type]
        self.timesteps = scheduler.timesteps.to(self.device)
        stride = scheduler.config.num_train_timesteps // self.steps
        before = self.timesteps.cpu() - stride
        abar = scheduler.alphas_cumprod.double()
        now = abar[self.timesteps.cpu()]
        then = torch.where(before >= 0, abar[before.clamp(min=0)], scheduler.final_alpha_cumprod.double())
        self.a, self.s = (t.float().to(self.device) for t in (now.sqrt(), (1 - now).sqrt()))
        self.a_next, self.s_next = (t.float().to(self.device) for t in (then.sqrt(), (1 - then).sqrt()))

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """Prompts -> text states; longer ones than the tokenizer's window are an error, since their end would be silently lost."""
        limit = self.tokenizer.model_max_length
        for prompt in prompts:
            if not prompt.strip():
                raise BadInput("the prompt is empty: say what to draw")
            if (length := len(self.tokenizer(prompt).input_ids)) > limit:
                raise BadInput(f"the prompt has {length} tokens and {self.name} reads {limit}: shorten “{prompt[:60]}…”")
        tokens = self.tokenizer([*prompts, ""], padding="max_length", return_tensors="pt").input_ids
        states = self.text(tokens.to(self.device)).last_hidden_state.to(self.dtype)
        return Condition(states[:-1], states[-1])

    def predict(self, x_BCHW: Tensor, step_B: Tensor, condition: Condition) -> Tensor:
        """x̃₀ from one denoiser call (two rows an image with guidance), differentiable."""
        t_B, states = self.timesteps[step_B], condition.states_PLD
        a, s = self.a[step_B].view(-1, 1, 1, 1), self.s[step_B].view(-1, 1, 1, 1)
        x = x_BCHW.to(self.dtype).contiguous(memory_format=torch.channels_last)
        if self.guidance == 1:
            out = self.denoiser(x, t_B, states).sample.float()
        else:
            empty = condition.empty_LD.expand_as(states)
            both = self.denoiser(torch.cat([x, x]), torch.cat([t_B, t_B]), torch.cat([empty, states])).sample.float()
            without, with_text = both.chunk(2)
            out = without + self.guidance * (with_text - without)
        return self.to_clean(x_BCHW, out, a, s)

    def step(self, x_BCHW: Tensor, x0_BCHW: Tensor, index: int) -> Tensor:
        """DDIM, η = 0 (Song et al. 2021, eq. 12): x̃₀ and the noise it implies, mixed as the next step wants."""
        eps = (x_BCHW - self.a[index] * x0_BCHW) / self.s[index]
        return self.a_next[index] * x0_BCHW + self.s_next[index] * eps

    def decode(self, z_BCHW: Tensor) -> Tensor:
        z = (z_BCHW / self.vae.config.scaling_factor).to(self.dtype).contiguous(memory_format=torch.channels_last)
        return self.vae.decode(z).sample.float() / 2 + 0.5


PARTS = (
    "tokenizer/tokenizer_config.json",
    "text_encoder/config.json",
    "unet/config.json",
    "vae/config.json",
    "scheduler/scheduler_config.json",
)


def _check_parts(folder: Path) -> None:
    """transformers makes an empty tokenizer, or a default text encoder, of a folder that lacks one: better to say so."""
    missing = [part for part in PARTS if not (folder / part).is_file()]
    if missing or not any((folder / "tokenizer" / words).is_file() for words in ("tokenizer.json", "vocab.json")):
        raise BadInput(f"{folder} lacks {', '.join(missing) or 'the words of its tokenizer'}: give a whole diffusers pipeline folder")


def _frozen(module: Any, device: torch.device, dtype: torch.dtype) -> nn.Module:
    return module.to(device, dtype, memory_format=torch.channels_last).eval().requires_grad_(False)
