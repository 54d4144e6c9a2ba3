"""Pipelines and image towers of real classes with random weights: tiny networks, at any picture size."""

import json
from pathlib import Path
from typing import Any

import torch

WORDS = 24  # tokens a prompt may have; every letter is one


def save_tiny(folder: Path, *, pixels: int = 32, levels: int = 3, seed: int = 1) -> tuple[Path, Path]:
    """A Stable Diffusion pipeline folder for `pixels` × `pixels` pictures, 2^(levels−1) times larger than its latents,
    and a CLIP folder."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _save_pipeline(folder / "pipeline", pixels, levels), _save_clip(folder / "clip")


def _save_pipeline(folder: Path, pixels: int, levels: int) -> Path:
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    words = save_tokenizer(folder)
    unet = UNet2DConditionModel(
        sample_size=pixels // 2 ** (levels - 1),
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
    )
    vae = AutoencoderKL(
        sample_size=pixels,
        block_out_channels=(4,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
    )
    text = CLIPTextConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        vocab_size=len(words),
        max_position_embeddings=WORDS,
        eos_token_id=words.eos_token_id,
        bos_token_id=words.bos_token_id,
        pad_token_id=words.pad_token_id,
    )
    scheduler = DDIMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False
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
    return folder


def save_tokenizer(folder: Path) -> Any:
    """A CLIP tokenizer that knows single letters."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    made = CLIPTokenizer.from_pretrained(folder, model_max_length=WORDS)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    return made


def _save_clip(folder: Path) -> Path:
    from transformers import CLIPConfig, CLIPModel

    shared = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    shared |= {"projection_dim": 96}
    config = CLIPConfig(
        text_config={**shared, "vocab_size": 64, "bos_token_id": 62, "eos_token_id": 63},
        vision_config={**shared, "image_size": 32, "patch_size": 8},
        projection_dim=96,
    )
    CLIPModel(config).save_pretrained(folder)
    steps = {
        "do_resize": True,
        "do_center_crop": True,
        "do_rescale": True,
        "do_normalize": True,
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
        "resample": 3,
        "image_mean": [0.48, 0.46, 0.41],
        "image_std": [0.27, 0.26, 0.28],
        "rescale_factor": 1 / 255,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(steps))
    return folder
