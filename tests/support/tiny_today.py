"""Pipelines of SD 3.5, Qwen-Image, FLUX.2 [klein] and Krea 2 at toy size, made of the real classes."""

from pathlib import Path
from typing import Any

from support.tiny_flow import HEAD, HEADS, PIXELS, WIDTH, clip_words, flux_vae, qwen_words, t5_tower, t5_words

MEAN = [0.3, -0.2, 0.1, 0.05]
DEVIATION = [1.5, 0.7, 1.1, 2.0]
SHIFTING = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 0.9, "max_image_seq_len": 8192}


def save_sd3(folder: Path, *, again: tuple[int, ...] = (0,)) -> None:
    """A StableDiffusion3Pipeline like 3.5 medium: its first block attends to the image alone once more, which none of
    3.5 large does."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    words, t5 = clip_words(folder / "words"), t5_words()

    def clip(width: int) -> Any:
        return CLIPTextModelWithProjection(
            CLIPTextConfig(
                hidden_size=width,
                projection_dim=width,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                vocab_size=len(words),
                max_position_embeddings=24,
                eos_token_id=words.eos_token_id,
                bos_token_id=words.bos_token_id,
                pad_token_id=words.pad_token_id,
            )
        )

    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=HEAD,
        num_attention_heads=HEADS,
        joint_attention_dim=WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=8 + 12,
        pos_embed_max_size=24,
        dual_attention_layers=again,
        qk_norm="rms_norm",
    )
    StableDiffusion3Pipeline(
        transformer=heard(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=flux_vae(),
        text_encoder=clip(8),
        tokenizer=words,
        text_encoder_2=clip(12),
        tokenizer_2=words,
        text_encoder_3=t5_tower(len(t5)),
        tokenizer_3=t5,
    ).save_pretrained(folder)


def save_qwen_image(folder: Path) -> None:
    """A QwenImagePipeline."""
    from diffusers import FlowMatchEulerDiscreteScheduler, QwenImagePipeline, QwenImageTransformer2DModel
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    words = qwen_words()
    text = Qwen2_5_VLConfig(text_config={**_qwen(words), "rope_parameters": _places()}, vision_config=_sight(WIDTH))
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=HEAD,
        num_attention_heads=HEADS,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 6, 6),
    )
    QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**SHIFTING),
        vae=video_vae(),
        text_encoder=Qwen2_5_VLForConditionalGeneration(text),
        tokenizer=words,
        transformer=heard(transformer),
    ).save_pretrained(folder)


def save_flux2(folder: Path, *, distilled: bool = True) -> None:
    """A Flux2KleinPipeline. Its text encoder has as many layers as are listened to, the 27th being the last."""
    import torch
    from diffusers import (
        AutoencoderKLFlux2,
        FlowMatchEulerDiscreteScheduler,
        Flux2KleinPipeline,
        Flux2Transformer2DModel,
    )
    from transformers import Qwen3Config, Qwen3ForCausalLM

    words = qwen_words()
    text = Qwen3Config(**{**_qwen(words), "num_hidden_layers": 28})
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=HEAD,
        num_attention_heads=HEADS,
        joint_attention_dim=3 * WIDTH,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    vae = AutoencoderKLFlux2(
        latent_channels=4,
        sample_size=PIXELS,
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
    )
    vae.bn.running_mean.copy_(torch.linspace(-0.5, 0.5, 16))
    vae.bn.running_var.copy_(torch.linspace(0.5, 2.0, 16))
    Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae,
        text_encoder=Qwen3ForCausalLM(text),
        tokenizer=words,
        transformer=heard(transformer),
        is_distilled=distilled,
    ).save_pretrained(folder)


def save_krea2(folder: Path, *, distilled: bool) -> None:
    """A Krea2Pipeline like Raw, or like Turbo."""
    from diffusers import FlowMatchEulerDiscreteScheduler, Krea2Pipeline, Krea2Transformer2DModel
    from transformers import Qwen3VLConfig, Qwen3VLModel

    words = qwen_words()
    text = Qwen3VLConfig(
        text_config={**_qwen(words), "rope_parameters": {**_places(), "mrope_interleaved": True}},
        vision_config={**_sight(WIDTH), "deepstack_visual_indexes": [0]},
    )
    transformer = Krea2Transformer2DModel(
        in_channels=16,
        num_layers=2,
        attention_head_dim=HEAD,
        num_attention_heads=HEADS,
        num_key_value_heads=1,
        intermediate_size=64,
        timestep_embed_dim=16,
        text_hidden_dim=WIDTH,
        num_text_layers=2,
        text_num_attention_heads=2,
        text_num_key_value_heads=2,
        text_intermediate_size=64,
        num_layerwise_text_blocks=1,
        num_refiner_text_blocks=1,
        axes_dims_rope=(4, 6, 6),
    )
    Krea2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**SHIFTING),
        vae=video_vae(),
        text_encoder=Qwen3VLModel(text),
        tokenizer=words,
        transformer=heard(transformer),
        text_encoder_select_layers=(1, 3),
        is_distilled=distilled,
    ).save_pretrained(folder)


HEARS = (
    *("context_embedder.weight", "txt_in.weight", "add_v_proj.weight", "to_v.weight", "attn.to_out.0.weight"),
    *("text_embedder.linear_1.weight", "text_embedder.linear_2.weight"),
)


def heard(transformer: Any) -> Any:
    """Random joint attention hardly hears the text; trained does, and sliders on the text stream need it to."""
    for name, parameter in transformer.named_parameters():
        if name.endswith(HEARS):
            parameter.data *= 5
    return transformer


def video_vae() -> Any:
    """Qwen-Image's, of four channels and a quarter of the size."""
    from diffusers import AutoencoderKLQwenImage

    return AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=MEAN,
        latents_std=DEVIATION,
    )


def _qwen(words: Any) -> dict[str, Any]:
    return {
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": HEAD,
        "vocab_size": len(words),
        "max_position_embeddings": 2048,
        "bos_token_id": None,
        "eos_token_id": words.eos_token_id,
    }


def _places() -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]}


def _sight(width: int) -> dict[str, Any]:
    """Of the tower that sees pictures, which nothing here asks."""
    return {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 1,
        "out_hidden_size": width,
        "fullatt_block_indexes": [0],
    }
