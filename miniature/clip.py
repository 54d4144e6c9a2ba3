"""Trains the miniature's CLIP: one tokenizer, a text tower (frozen later as the pipeline's text encoder) and an image tower.

    python clip.py --data DATA --out clip --images 260000               both towers, batches of anything
    python clip.py --data DATA --out clip --images 150000 --tune 1      then the image tower, half its batches within one style

Captions here say most of what can be said, so that the image tower learns every named factor; a third are short, because
prompts are. In a batch of anything, style and background alone tell most captions apart, and glasses or hair are hardly learnt; the
second command draws batches within one style, where they are all that differs. The text tower stays as the UNet knows it. Images are
blurred and noised at random: the tower will look at previews, not only at finished drawings.
"""

import json
from pathlib import Path

import numpy as np
import torch
from common import Images, Run, arguments, rows
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer
from world import caption, factors

LENGTH = 32  # tokens
RICH = (0.7, 1.0, 0.3)


def tokenizer(texts: list[str], out: Path) -> CLIPTokenizer:
    """A byte-level BPE in CLIP's own file format, its merges learnt from the world's captions."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=1600, initial_alphabet=alphabet, end_of_word_suffix="</w>", min_frequency=2)
    )
    learnt = json.loads(bpe.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in learnt["merges"]]
    tokens = alphabet + [c + "</w>" for c in alphabet] + ["".join(m) for m in merges]
    vocab = {t: i for i, t in enumerate(dict.fromkeys([*tokens, "<|startoftext|>", "<|endoftext|>"]))}
    out.mkdir(parents=True, exist_ok=True)
    (out / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (out / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(m) for m in merges) + "\n")
    made = CLIPTokenizer.from_pretrained(out, model_max_length=LENGTH)
    made.save_pretrained(out)
    return made


def build(words: CLIPTokenizer) -> CLIPModel:
    shared = {
        "hidden_size": 192,
        "intermediate_size": 768,
        "projection_dim": 64,
        "hidden_act": "gelu",
    }  # quick_gelu has no fused kernel on CPU
    text = {
        **shared,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "vocab_size": len(words),
        "max_position_embeddings": LENGTH,
        "eos_token_id": words.eos_token_id,
        "bos_token_id": words.bos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    vision = {**shared, "num_hidden_layers": 4, "num_attention_heads": 3, "image_size": 64, "patch_size": 8}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))


def groups_of(truth: list[dict[str, str]]) -> list[np.ndarray]:
    """Indices of the images of each style."""
    style = np.array([f["style"] for f in truth])
    return [np.flatnonzero(style == name) for name in np.unique(style)]


def augment(x01: Tensor) -> Tensor:
    """Half the images untouched; the rest made smaller and larger again, or noised, as previews look."""
    small = nn.functional.interpolate(x01, scale_factor=float(torch.empty(1).uniform_(0.25, 0.75)), mode="bilinear", antialias=True)
    blurred = nn.functional.interpolate(small, size=x01.shape[-2:], mode="bilinear")
    share = torch.rand(len(x01), 1, 1, 1, device=x01.device)
    mixed = torch.where(share < 0.25, blurred, x01)
    return (mixed + (share > 0.7) * 0.08 * torch.randn_like(x01)).clamp(0, 1)


def main() -> None:
    o = arguments("Train the CLIP", images=260_000, batch=128, lr=1e-3, tune=0)
    data, truth = Images(o.data, "train"), [factors(r) for r in rows(o.data, "train")]
    rng = np.random.default_rng(o.seed)
    final = o.out / "final"
    words = CLIPTokenizer.from_pretrained(final) if o.tune else tokenizer([caption(f, rng) for f in truth[:40_000]], final)
    processor = CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    processor.save_pretrained(final)
    mean, std = (torch.tensor(v, device=o.device).view(1, 3, 1, 1) for v in (processor.image_mean, processor.image_std))
    clip = (CLIPModel.from_pretrained(final, dtype=torch.float32, use_safetensors=True) if o.tune else build(words)).to(o.device)
    clip.text_model.requires_grad_(not o.tune)
    clip.set_attn_implementation("eager")  # twice as fast as the fused kernel on CPU at 64 tokens
    run = Run(clip, o.out / ("tune.safetensors" if o.tune else "state.safetensors"), images=o.images, batch=o.batch, lr=o.lr, decay=0.1)
    groups = groups_of(truth)

    def logits(index: np.ndarray, x01: Tensor, table: list[dict[str, str]], rng: np.random.Generator) -> Tensor:
        texts = [caption(table[i], rng, RICH if rng.random() < 0.67 else (0.0, 0.3)) for i in index]
        tokens = words(texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt").to(o.device)
        with torch.autocast(o.device.type, torch.bfloat16):
            out = clip(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, pixel_values=(x01 - mean) / std)
        same = torch.tensor([[a == b for b in texts] for a in texts], device=o.device)
        hidden = same & ~torch.eye(len(texts), dtype=torch.bool, device=o.device)
        return out.logits_per_image.float().masked_fill(hidden, -30.0)  # an equal caption is no wrong answer

    def both_ways(scores: Tensor) -> Tensor:
        label = torch.arange(len(scores), device=scores.device)
        return (nn.functional.cross_entropy(scores, label) + nn.functional.cross_entropy(scores.T, label)) / 2

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        rng = np.random.default_rng((o.seed, 3, run.step))
        if o.tune and run.step % 2:
            index = np.sort(rng.choice(groups[rng.integers(len(groups))], o.batch, replace=False))
        scores = logits(index, augment(data.batch(index, o.device)), truth, np.random.default_rng((o.seed, 1, int(index[0]), run.step)))
        hit = (scores.argmax(1) == torch.arange(len(scores), device=scores.device)).float().mean()
        return both_ways(scores), f"top-1 of {o.batch} {hit:.3f} scale {clip.logit_scale.exp():.1f}"

    run.train(len(data), o.seed, loss_of)
    run.use_ema()
    held, table = Images(o.data, "held"), [factors(r) for r in rows(o.data, "held")]
    with torch.no_grad():
        index = np.arange(256)
        scores = logits(index, held.batch(index, o.device), table, np.random.default_rng(7))
    print(f"held-out loss {both_ways(scores):.3f}, top-1 of 256 {(scores.argmax(1) == torch.arange(256)).float().mean():.3f}")
    clip.half().save_pretrained(final)


if __name__ == "__main__":
    main()
