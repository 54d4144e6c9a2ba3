"""Real models at toy size with random weights: pipelines of diffusers and image towers of transformers."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiny_models import WORDS, save_tokenizer

# ---- tiny models

PIXELS, LATENT = 32, 8
__all__ = ["LATENT", "PIXELS", "WORDS", "Tiny", "save_clip", "save_dino", "save_pipeline", "save_tokenizer", "speak_up"]


@dataclass(frozen=True)
class Tiny:
    """Folders of models that know nothing and are whole. `velocity` has zero terminal SNR; `noise` predicts noise."""

    velocity: Path
    noise: Path
    clip: Path
    dino: Path


def save_pipeline(folder: Path, **sampler: Any) -> None:
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    words = save_tokenizer(folder)
    unet = UNet2DConditionModel(
        sample_size=LATENT,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
    )
    speak_up(unet)
    text = CLIPTextConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        vocab_size=len(words),
        projection_dim=16,
        max_position_embeddings=WORDS,
        eos_token_id=words.eos_token_id,
        bos_token_id=words.bos_token_id,
        pad_token_id=words.pad_token_id,
    )
    vae = AutoencoderKL(
        latent_channels=4,
        sample_size=PIXELS,
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
        **sampler,
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=words,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def speak_up(unet: Any) -> None:
    """Random attention hardly shows beside the residual stream; a trained model's does, and sliders need it to."""
    for name, parameter in unet.named_parameters():
        if name.endswith(("to_out.0.weight", "proj_out.weight", "conv_out.weight")):
            parameter.data *= 3


def save_clip(folder: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    shared = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "projection_dim": 24,
    }
    config = CLIPConfig(
        text_config={**shared, "vocab_size": 64, "bos_token_id": 62, "eos_token_id": 63},
        vision_config={**shared, "image_size": PIXELS, "patch_size": 8},
        projection_dim=24,
    )
    CLIPModel(config).save_pretrained(folder)
    save_preprocessor(folder, "CLIPImageProcessor", size={"shortest_edge": PIXELS}, crop=PIXELS)


def save_dino(folder: Path) -> None:
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=7, mlp_ratio=2
    )
    Dinov2Model(config).save_pretrained(folder)
    save_preprocessor(
        folder, "BitImageProcessor", size={"shortest_edge": 33}, crop=28
    )  # DINOv2 resizes beyond its crop


def save_preprocessor(folder: Path, kind: str, *, size: dict[str, int], crop: int) -> None:
    steps = {
        "image_processor_type": kind,
        "do_resize": True,
        "size": size,
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": crop, "width": crop},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "do_convert_rgb": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(steps))
