"""Pipelines of the flow family at toy size, made of the real classes, and the published configurations of the large
ones.

Images are 32 pixels, latents 8: 16 image tokens, which Z-Image pads to 32, as its large form does at odd sizes.
"""

import json
from pathlib import Path
from typing import Any

PIXELS = 32
WIDTH, HEADS, HEAD = 32, 2, 16

# transformer/config.json of black-forest-labs/FLUX.1-schnell (dev differs in guidance_embeds) and
# Tongyi-MAI/Z-Image-Turbo
FULL_FLUX: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": False,
    "axes_dims_rope": [16, 56, 56],
}
FULL_ZIMAGE: dict[str, Any] = {
    "all_patch_size": [2],
    "all_f_patch_size": [1],
    "in_channels": 16,
    "dim": 3840,
    "n_layers": 30,
    "n_refiner_layers": 2,
    "n_heads": 30,
    "n_kv_heads": 30,
    "norm_eps": 1e-5,
    "qk_norm": True,
    "cap_feat_dim": 2560,
    "rope_theta": 256.0,
    "t_scale": 1000.0,
    "axes_dims": [32, 48, 48],
    "axes_lens": [1536, 512, 512],
}
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if not enable_thinking %}<think></think>{% endif %}{% "
    "endif %}"
)


def t5_tower(words: int) -> Any:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        d_model=WIDTH,
        d_ff=64,
        d_kv=HEAD,
        num_layers=2,
        num_heads=2,
        vocab_size=words,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )
    return T5EncoderModel(config)


def save_flux(folder: Path, *, dev: bool, **options: Any) -> None:
    """A FluxPipeline like schnell, or like dev: told its guidance, and shifting its noise levels with the size; with
    other `options` of its transformer."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel

    clip, t5 = clip_words(folder / "words"), t5_words()
    text = CLIPTextConfig(
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=len(clip),
        max_position_embeddings=24,
        eos_token_id=clip.eos_token_id,
        bos_token_id=clip.bos_token_id,
        pad_token_id=clip.pad_token_id,
    )
    small: dict[str, Any] = {
        "num_layers": 2,
        "num_single_layers": 2,
        "attention_head_dim": HEAD,
        "num_attention_heads": HEADS,
        "axes_dims_rope": (4, 6, 6),
    }
    transformer = FluxTransformer2DModel(
        in_channels=16,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=dev,
        **(small | options),
    )
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0 if dev else 1.0, use_dynamic_shifting=dev),
        vae=flux_vae(),
        text_encoder=CLIPTextModel(text),
        tokenizer=clip,
        text_encoder_2=t5_tower(len(t5)),
        tokenizer_2=t5,
        transformer=transformer,
    ).save_pretrained(folder)


def save_zimage(folder: Path, *, shift: float = 3.0) -> None:
    """A ZImagePipeline like Turbo; the base model's shift is 6."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
    from transformers import Qwen3Config, Qwen3Model

    words = qwen_words()
    text = Qwen3Config(
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=HEAD,
        vocab_size=len(words),
        max_position_embeddings=1024,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
    )
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=WIDTH,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=HEADS,
        n_kv_heads=HEADS,
        cap_feat_dim=WIDTH,
        axes_dims=[4, 6, 6],
        axes_lens=[1024, 64, 64],
    )
    for padding in (transformer.x_pad_token, transformer.cap_pad_token):  # zeros when new, learned when trained
        torch.nn.init.normal_(padding)
    ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=shift),
        vae=flux_vae(),
        text_encoder=Qwen3Model(text),
        tokenizer=words,
        transformer=transformer,
    ).save_pretrained(folder)


def flux_vae() -> Any:
    """FLUX's own kind, which Z-Image shares: a shift as well as a scale, and no quantisation convolutions."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        latent_channels=4,
        sample_size=PIXELS,
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def _letters() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def clip_words(folder: Path) -> Any:
    """Every byte is a token. CLIPTokenizer can be made from files only."""
    import shutil

    from transformers import CLIPTokenizer

    tokens = [*_letters(), *(letter + "</w>" for letter in _letters()), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    made = CLIPTokenizer.from_pretrained(folder, model_max_length=24)
    shutil.rmtree(folder)
    return made


def t5_words() -> Any:
    from transformers import T5Tokenizer

    pieces = ["<pad>", "</s>", "<unk>", "▁", *(chr(c) for c in range(33, 127))]
    return T5Tokenizer(vocab=[(piece, -1.0) for piece in pieces], extra_ids=0)


def qwen_words() -> Any:
    from transformers import Qwen2Tokenizer

    tokens = [*_letters(), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    made = Qwen2Tokenizer(vocab, [], eos_token="<|im_end|>", additional_special_tokens=["<|im_start|>"])
    made.chat_template = CHAT
    return made
