"""The latent UNet family: StableDiffusionPipeline and StableDiffusionXLPipeline folders, distilled forms included."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Targets
from sliderspace.core.sizes import Size, sides
from sliderspace.models.backbones.base import Condition
from sliderspace.models.backbones.folder import check_size, check_steps, own_size, read_config, vae_scale
from sliderspace.models.backbones.pipeline import PipelineBackbone, Setup
from sliderspace.models.backbones.samplers import Schedule, sampler_of, schedule_for


def clean_from_noise(x: Tensor, eps: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """x̃₀ = (xₜ − √(1−ᾱₜ)·ε)/√ᾱₜ, with a = √ᾱₜ > 0 and s = √(1−ᾱₜ) (paper, step 1 of the method)."""
    return (x - s * eps) / a


def clean_from_velocity(x: Tensor, v: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """x̃₀ = √ᾱₜ·xₜ − √(1−ᾱₜ)·v (Salimans & Ho 2022); finite at zero terminal SNR, where a = 0."""
    return a * x - s * v


FEW_PLACES = 256  # latent pixels up to which attention is computed plainly on a processor
PREDICTIONS: dict[str, dict[str, Any]] = {  # a preset's word -> the scheduler's own
    "": {},
    "v": {"prediction_type": "v_prediction"},
    "v-zero-snr": {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
}
KINDS = {"epsilon": clean_from_noise, "v_prediction": clean_from_velocity}


class UNetBackbone(PipelineBackbone):
    """SD-type pipelines, with classifier-free guidance above 1 and the folder's own sampler where it is one of ours."""

    component = "unet"
    pipeline_class = "StableDiffusionPipeline"
    denoiser_class = "UNet2DConditionModel"
    # `attn2` is cross-attention. Matching by class name broke silently in other code when a library renamed its
    # classes.
    layers: Mapping[Targets, str] = {
        "cross-kv": r".*\.attn2\.to_[kv]",
        "cross": r".*\.attn2\.to_(q|k|v|out\.0)",
        "attention": r".*\.attn[12]\.to_(q|k|v|out\.0)",
        "linear": r".*\.(attn[12]\.to_(q|k|v|out\.0)|ff\.net\.(0\.proj|2))",
    }
    needs = (
        "tokenizer/tokenizer_config.json",
        "text_encoder/config.json",
        "unet/config.json",
        "vae/config.json",
        "scheduler/scheduler_config.json",
    )
    full_steps = (30, 7.5)
    # What the pipeline's constructor forces on its scheduler, whatever the folder says.
    forced: Mapping[str, Any] = {"steps_offset": 1, "clip_sample": False}

    def tuned(self, denoiser: Any) -> Any:
        # the fused CPU kernel's backward pass is 42 % of an update on 64 places; a plain one halves the update
        if self.device.type == "cpu" and prod(self.latent_shape[1:]) <= FEW_PLACES:
            from diffusers.models.attention_processor import AttnProcessor

            denoiser.set_attn_processor(AttnProcessor())
        return denoiser

    @classmethod
    def usual(cls, folder: Path) -> tuple[int, float]:
        return (4, 8.0) if read_config(folder, "unet").get("time_cond_proj_dim") else cls.full_steps

    @classmethod
    def latent_shape_of(cls, folder: Path, size: Size) -> tuple[int, int, int]:
        config, scale = read_config(folder, "unet"), vae_scale(folder)
        check_size(size, scale * 2 ** (len(config["block_out_channels"]) - 1))
        width, height = sides(size or own_size(config, scale))
        return int(config["in_channels"]), height // scale, width // scale

    @classmethod
    def sampling_of(cls, folder: Path, setup: Setup) -> tuple[str, Schedule]:
        config = {**read_config(folder, "scheduler"), **cls.forced, **PREDICTIONS[setup.prediction]}
        sampler = setup.sampler or sampler_of(config.get("_class_name", ""))
        check_steps(setup.steps, config)
        if (prediction := config.get("prediction_type", "epsilon")) not in KINDS:
            raise BadInput(f"{setup.name} predicts '{prediction}'; known are {', '.join(KINDS)}")
        if setup.spacing:
            config["timestep_spacing"] = setup.spacing
        times = {"timesteps": setup.timesteps} if sampler == "lcm" else {}
        return sampler, schedule_for(sampler, config, setup.steps, **times)

    @cached_property
    def to_clean(self) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
        """x̃₀ of (xₜ, the network's output, a, s)."""
        said = self.config("scheduler") | PREDICTIONS[self.setup.prediction]
        return KINDS[said.get("prediction_type", "epsilon")]

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        words = self.tokenizer("CLIPTokenizer")
        self.check_prompts(prompts, words, words.model_max_length)
        ids_PL = words([*prompts, ""], padding="max_length", return_tensors="pt").input_ids
        states = self.read_texts("CLIPTextModel", "text_encoder", torch.float32, ids_PL, lambda text, ids: text(ids)[0])
        return self.condition_of(states=states)

    def predict(self, x_BCHW: Tensor, step_B: Tensor, condition: Condition) -> Tensor:
        """x̃₀ from one denoiser call (two rows an image with guidance), differentiable."""
        t_B, a, s = self.schedule.at(step_B)
        x = x_BCHW.to(self.dtype).contiguous(memory_format=torch.channels_last)
        if self.guidance <= 1 or self._told_guidance:
            out = self._call(x, t_B, condition.texts).float()
        else:
            both = self._call(torch.cat([x, x]), torch.cat([t_B, t_B]), condition.beside_empty()).float()
            without, with_text = both.chunk(2)
            out = without + self.guidance * (with_text - without)
        return self.schedule.preview(x_BCHW, self.to_clean(x_BCHW, out, a, s), step_B)

    def _call(self, x: Tensor, t_B: Tensor, texts: Mapping[str, Tensor]) -> Tensor:
        told = guidance_embedding(self.guidance - 1, self._told_guidance, x) if self._told_guidance else None
        return self.denoiser(x, t_B, texts["states"], timestep_cond=told, added_cond_kwargs=self._added(texts)).sample

    def _added(self, texts: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        return None

    @property
    def _told_guidance(self) -> int:
        """The width of the guidance embedding of a consistency-distilled UNet (LCM), which needs no second row; 0 for
        others."""
        return int(self.denoiser.config.time_cond_proj_dim or 0)


class SDXLBackbone(UNetBackbone):
    """Two text encoders, a pooled text and the image's size as conditions. SDXL base, Turbo, Lightning, LCM, DMD2."""

    needs = (*UNetBackbone.needs, "tokenizer_2/tokenizer_config.json", "text_encoder_2/config.json")
    pipeline_class = "StableDiffusionXLPipeline"
    full_steps = (30, 5.0)
    forced: Mapping[str, Any] = {}

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        states: list[Tensor] = []
        pooled: list[Tensor] = []
        for number, model in (("", "CLIPTextModel"), ("_2", "CLIPTextModelWithProjection")):
            words = self.tokenizer("CLIPTokenizer", f"tokenizer{number}")
            self.check_prompts(prompts, words, words.model_max_length)
            ids_PL = words([*prompts, ""], padding="max_length", return_tensors="pt").input_ids
            read = self.read_texts(model, f"text_encoder{number}", torch.float32, ids_PL, _states_and_pooled)
            states.append(torch.cat([part[0].cpu() for part in read]))
            pooled = [part[1] for part in read]
        found = self.condition_of(states=[torch.cat(states, -1)], pooled=pooled)
        if self._index.get("force_zeros_for_empty_prompt", True):
            return Condition(found.texts, {name: torch.zeros_like(t) for name, t in found.empty.items()})
        return found

    @property
    def _index(self) -> dict[str, Any]:
        return json.loads((self.folder / "model_index.json").read_text())

    def _added(self, texts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The pooled text, and the original size, crop corner and target size the model was told in training."""
        width, height = sides(self.image_size)
        size = [height, width, 0, 0, height, width]
        pooled = texts["pooled"]
        return {
            "text_embeds": pooled,
            "time_ids": torch.tensor(size, dtype=pooled.dtype, device=pooled.device).expand(len(pooled), -1),
        }


def _states_and_pooled(text: Any, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
    """Of one of SDXL's text encoders: the layer before the last, which it was trained on, and the output's first entry
    (the pooled text of the one with a projection)."""
    out = text(ids_BL, output_hidden_states=True)
    return out.hidden_states[-2], out[0]


def guidance_embedding(w: float, width: int, like: Tensor) -> Tensor:
    """The sinusoidal embedding of guidance w = scale − 1 that LCM UNets are told, [B, width] (Luo et al. 2023)."""
    half = width // 2
    rate = torch.exp(
        torch.arange(half, device=like.device) * -(torch.log(torch.tensor(10_000.0)) / (half - 1)).to(like.device)
    )
    angle = 1000 * w * rate
    both = torch.nn.functional.pad(torch.cat([angle.sin(), angle.cos()]), (0, width % 2))
    return both.to(like.dtype).expand(len(like), -1)
