"""SDXL pipelines at toy size, made of the real classes."""

from pathlib import Path
from typing import Any

from support.tiny import LATENT, PIXELS, WORDS, save_tokenizer, speak_up

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def save_sdxl(
    folder: Path,
    scheduler: str = "EulerDiscreteScheduler",
    *,
    told_guidance: int | None = None,
    zeros: bool = True,
    attends: bool = False,
    **options: Any,
) -> Path:
    """A StableDiffusionXLPipeline at toy size, every part of the real class. `attends`: its autoencoder, as the large
    one's."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    words = save_tokenizer(folder)
    unet = diffusers.UNet2DConditionModel(
        sample_size=LATENT,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=40,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 24,
        time_cond_proj_dim=told_guidance,
    )
    speak_up(unet)
    ids = {"eos_token_id": words.eos_token_id, "bos_token_id": words.bos_token_id, "pad_token_id": words.pad_token_id}
    shared = {
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": len(words),
        "max_position_embeddings": WORDS,
        **ids,
    }
    vae = diffusers.AutoencoderKL(
        latent_channels=4,
        sample_size=PIXELS,
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=attends,
        scaling_factor=0.13025,
    )
    diffusers.StableDiffusionXLPipeline(
        vae=vae,
        unet=unet,
        tokenizer=words,
        tokenizer_2=words,
        force_zeros_for_empty_prompt=zeros,
        text_encoder=CLIPTextModel(CLIPTextConfig(hidden_size=16, projection_dim=16, **shared)),
        text_encoder_2=CLIPTextModelWithProjection(CLIPTextConfig(hidden_size=24, projection_dim=24, **shared)),
        scheduler=getattr(diffusers, scheduler)(**SCHEDULE, **options),
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


def save_small_decoder(folder: Path, levels: int = 3) -> Path:
    """An AutoencoderTiny, as TAESD is one; with two levels its pictures are half as large as the model's."""
    import diffusers

    widths = {"encoder_block_out_channels": (8,) * levels, "decoder_block_out_channels": (8,) * levels}
    counts = {"num_encoder_blocks": (1,) * levels, "num_decoder_blocks": (1,) * levels}
    diffusers.AutoencoderTiny(**widths, **counts, latent_channels=4).save_pretrained(folder)
    return folder
