"""Trains the miniature's CLIP: one tokenizer, a text tower (frozen later as the pipeline's text encoder) and an image
tower.

    python clip.py --data DATA --out clip --images 500000
    python clip.py --data DATA --out clip --images 300000 --start ../src/sliderspace/assets/mini/clip    goes on from a
    finished one

In a batch of anything, style and background alone tell most captions apart, and glasses or hair are hardly learnt by
either tower. So every second batch is of one style, where they are all that differs, captions say most of what can be
said (a third are short, because prompts are), and linear heads on the image embedding, thrown away at the end, are
asked for the factors themselves. Images are blurred and noised at random: the tower will look at previews, not only at
finished drawings.
"""

import json
from pathlib import Path

import numpy as np
import torch
from common import Images, Run, arguments, augment, classes_of, factor_losses, rows, targets
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
        texts,
        trainers.BpeTrainer(vocab_size=1600, initial_alphabet=alphabet, end_of_word_suffix="</w>", min_frequency=2),
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


class Told(nn.Module):
    """The CLIP with linear heads on its image embedding, for training only."""

    def __init__(self, clip: CLIPModel, outputs: int) -> None:
        super().__init__()
        self.clip, self.heads = clip, nn.Linear(clip.config.projection_dim, outputs)

    def factors(self, image_BD: Tensor) -> Tensor:
        """Logits [B, classes] of unit embeddings, scaled to about unit variance a value."""
        return self.heads(image_BD * image_BD.shape[1] ** 0.5)


def main() -> None:
    o = arguments("Train the CLIP", images=500_000, batch=128, lr=1e-3, start="", help_weight=0.3)
    data, truth = Images(o.data, "train"), [factors(r) for r in rows(o.data, "train")]
    rng = np.random.default_rng(o.seed)
    final = o.out / "final"
    words = (
        CLIPTokenizer.from_pretrained(o.start)
        if o.start
        else tokenizer([caption(f, rng) for f in truth[:40_000]], final)
    )
    words.save_pretrained(final)
    processor = CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    processor.save_pretrained(final)
    mean, std = (torch.tensor(v, device=o.device).view(1, 3, 1, 1) for v in (processor.image_mean, processor.image_std))
    clip = CLIPModel.from_pretrained(o.start, dtype=torch.float32, use_safetensors=True) if o.start else build(words)
    clip.set_attn_implementation("eager")  # twice as fast as the fused kernel on CPU at 64 tokens
    classes = classes_of(truth)
    labels, groups = targets(truth, classes).to(o.device), groups_of(truth)
    told = Told(clip, sum(map(len, classes.values()))).to(o.device)
    run = Run(told, o.out / "state.safetensors", images=o.images, batch=o.batch, lr=o.lr, decay=0.1)

    def scores_of(
        index: np.ndarray, x01: Tensor, table: list[dict[str, str]], rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, B] of images against captions, and the image embeddings [B, D]."""
        texts = [caption(table[i], rng, RICH if rng.random() < 0.67 else (0.0, 0.3)) for i in index]
        tokens = words(texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt").to(
            o.device
        )
        with torch.autocast(o.device.type, torch.bfloat16):
            out = clip(
                input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, pixel_values=(x01 - mean) / std
            )
        same = torch.tensor([[a == b for b in texts] for a in texts], device=o.device)
        hidden = same & ~torch.eye(len(texts), dtype=torch.bool, device=o.device)
        return out.logits_per_image.float().masked_fill(
            hidden, -30.0
        ), out.image_embeds.float()  # an equal caption is no wrong answer

    def both_ways(scores: Tensor) -> Tensor:
        label = torch.arange(len(scores), device=scores.device)
        return (nn.functional.cross_entropy(scores, label) + nn.functional.cross_entropy(scores.T, label)) / 2

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        rng = np.random.default_rng((o.seed, 3, run.step))
        if run.step % 2:
            index = np.sort(rng.choice(groups[rng.integers(len(groups))], o.batch, replace=False))
        scores, image_BD = scores_of(
            index, augment(data.batch(index, o.device)), truth, np.random.default_rng((o.seed, 1, run.step))
        )
        helps = factor_losses(told.factors(image_BD), labels[index], classes)
        hit = (scores.argmax(1) == torch.arange(len(scores), device=scores.device)).float().mean()
        text = f"top-1 of {o.batch} {hit:.3f} scale {clip.logit_scale.exp():.1f} " + " ".join(
            f"{k} {v:.2f}" for k, v in helps.items()
        )
        return both_ways(scores) + o.help_weight * torch.stack(list(helps.values())).sum(), text

    run.train(len(data), o.seed, loss_of)
    run.use_ema()
    held, table = Images(o.data, "held"), [factors(r) for r in rows(o.data, "held")]
    with torch.no_grad():
        index = np.arange(256)
        scores, _ = scores_of(index, held.batch(index, o.device), table, np.random.default_rng(7))
    print(
        f"held-out loss {both_ways(scores):.3f}, top-1 of 256 "
        f"{(scores.argmax(1) == torch.arange(256)).float().mean():.3f}"
    )
    clip.half().save_pretrained(final)


if __name__ == "__main__":
    main()
