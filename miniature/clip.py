"""Trains the creatures' CLIP: a tokenizer, an image tower, and a text tower that becomes the pipeline's text encoder.

    python clip.py --data DATA --out OUT/clip --images 250000
    python clip.py --data DATA --out OUT/clip2 --images 250000 --start OUT/clip/final --freeze_text 1

The last form trains the image tower alone and leaves the text tower as a UNet already knows it.

In a batch of anything, style and colour alone tell most captions apart, and horns or lids are hardly learnt by either
tower. So every second batch is of one style or one kind, captions say most of what can be said (a third are short,
because prompts are), and linear heads on the image embedding, thrown away at the end, are asked for the factors
themselves. Pictures are blurred and noised at random: the tower will look at previews, not only at finished pictures.
"""

import json
from pathlib import Path

import numpy as np
import torch
from classes import Bins, table
from common import Images, Run, arguments, augment, factor_losses
from factors import KINDS, STYLES, Creature
from render import SIZE
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer
from words import KEEPS, caption

LENGTH = 32  # tokens
RICH = (0.7, 1.0, 0.3)
WIDTH = 192


def tokenizer(texts: list[str], out: Path) -> CLIPTokenizer:
    """A byte-level BPE in CLIP's own file format, its merges learnt from the world's captions."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    bpe.normalizer = normalizers.Lowercase()
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), level])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=1400, initial_alphabet=alphabet, end_of_word_suffix="</w>", min_frequency=2
    )
    bpe.train_from_iterator(texts, trainer)
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
    # quick_gelu has no fused kernel on CPU
    shared = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "projection_dim": 64,
        "hidden_act": "gelu",
        "num_attention_heads": 3,
    }
    ends = {"eos_token_id": words.eos_token_id, "bos_token_id": words.bos_token_id, "pad_token_id": words.pad_token_id}
    text = {**shared, **ends, "num_hidden_layers": 3, "vocab_size": len(words), "max_position_embeddings": LENGTH}
    vision = {**shared, "num_hidden_layers": 4, "image_size": SIZE, "patch_size": 16}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))


def groups_of(creatures: list[Creature]) -> list[np.ndarray]:
    """Indices of the pictures of each style, and of each kind in clay: batches in which only details differ."""
    style = np.array([c.style for c in creatures])
    kind = np.array([c.kind for c in creatures])
    return [np.flatnonzero(style == s) for s in STYLES] + [
        np.flatnonzero((kind == k) & (style == STYLES[0])) for k in KINDS
    ]


class Told(nn.Module):
    """The CLIP with linear heads on its image embedding, for training only."""

    def __init__(self, clip: CLIPModel, outputs: int) -> None:
        super().__init__()
        self.clip, self.heads = clip, nn.Linear(clip.config.projection_dim, outputs)

    def factors(self, image_BD: Tensor) -> Tensor:
        """Logits [B, classes] of unit embeddings, scaled to about unit variance a value."""
        return self.heads(image_BD * image_BD.shape[1] ** 0.5)


class Teacher:
    """Pictures and captions of one table as batches, and how well a CLIP matches them."""

    def __init__(self, clip: CLIPModel, words: CLIPTokenizer, creatures: list[Creature], device: torch.device) -> None:
        self.clip = clip
        self.words = words
        self.creatures = creatures
        self.device = device
        look = CLIPImageProcessor()
        self.mean, self.std = (
            torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (look.image_mean, look.image_std)
        )

    def scores(self, index: np.ndarray, x01: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Logits [B, B] of pictures against captions, and the picture embeddings [B, D]."""
        texts = [caption(self.creatures[i], rng, RICH if rng.random() < 0.67 else KEEPS[:2]) for i in index]
        tokens = self.words(texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt").to(
            self.device
        )
        with torch.autocast(self.device.type, torch.bfloat16):
            pixels = (x01 - self.mean) / self.std
            out = self.clip(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, pixel_values=pixels)
        same = torch.tensor([[a == b for b in texts] for a in texts], device=self.device)
        hidden = same & ~torch.eye(
            len(texts), dtype=torch.bool, device=self.device
        )  # an equal caption is no wrong answer
        return out.logits_per_image.float().masked_fill(hidden, -30.0), out.image_embeds.float()


@torch.no_grad()
def louder(tower: nn.Module, times: float) -> None:
    """Let the words themselves be heard in a text tower's states, beside what its layers make of them: trained from
    small values the layers wrote 300 times what the embeddings are."""
    for part in (tower.embeddings.token_embedding, tower.embeddings.position_embedding):
        part.weight.mul_(times)


def both_ways(scores: Tensor) -> Tensor:
    label = torch.arange(len(scores), device=scores.device)
    return (nn.functional.cross_entropy(scores, label) + nn.functional.cross_entropy(scores.T, label)) / 2


def nearest(scores: Tensor) -> float:
    """The share of pictures whose own caption scores highest."""
    return float((scores.argmax(1) == torch.arange(len(scores), device=scores.device)).float().mean())


@torch.no_grad()
def report(held: Images, teacher: Teacher) -> None:
    rng = np.random.default_rng(7)
    groups = {"anything": np.arange(256), **dict(zip((*STYLES, *KINDS), groups_of(teacher.creatures), strict=True))}
    for name, index in groups.items():
        scores, _ = teacher.scores(index[:256], held.batch(index[:256], teacher.device), rng)
        print(
            f"held-out {name}: loss {both_ways(scores):.3f}, own nearest of {len(scores)}: {nearest(scores):.3f}",
            flush=True,
        )


def main() -> None:
    o = arguments(
        "Train the creatures' CLIP",
        images=250_000,
        batch=128,
        lr=1e-3,
        start="",
        help_weight=0.1,
        freeze_text=0,
        louder=1.0,
    )
    torch.set_flush_denormal(True)
    data, creatures = Images(o.data, "train", SIZE), table(o.data, "train")
    rng, final = np.random.default_rng(o.seed), o.out / "final"
    kept = final if (final / "vocab.json").exists() else o.start
    words = (
        CLIPTokenizer.from_pretrained(kept) if kept else tokenizer([caption(c, rng) for c in creatures[:20_000]], final)
    )
    words.save_pretrained(final)
    CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}).save_pretrained(final)
    clip = CLIPModel.from_pretrained(o.start, dtype=torch.float32, use_safetensors=True) if o.start else build(words)
    louder(clip.text_model, o.louder)
    clip.set_attn_implementation("eager")  # twice as fast as the fused kernel on CPU at 64 tokens
    bins = Bins(creatures)
    classes, labels, groups = bins.classes(), bins.labels(creatures).to(o.device), groups_of(creatures)
    if o.freeze_text:
        clip.text_model.requires_grad_(False)
        clip.text_projection.requires_grad_(False)
    told = Told(clip, sum(map(len, classes.values()))).to(o.device)
    teacher = Teacher(clip, words, creatures, o.device)
    run = Run(told, o.out / "state.safetensors", images=o.images, batch=o.batch, lr=o.lr, decay=0.1)

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        rng = np.random.default_rng((o.seed, 3, run.step))
        if run.step % 2:
            group = groups[rng.integers(len(groups))]
            index = np.sort(rng.choice(group, o.batch, replace=len(group) < o.batch))
        scores, image_BD = teacher.scores(
            index, augment(data.batch(index, o.device)), np.random.default_rng((o.seed, 1, run.step))
        )
        helps = factor_losses(told.factors(image_BD), labels[index], classes)
        told_of = " ".join(f"{k} {v:.2f}" for k, v in helps.items())
        text = f"top-1 of {o.batch} {nearest(scores):.3f} scale {clip.logit_scale.exp():.1f} {told_of}"
        return both_ways(scores) + o.help_weight * torch.stack(list(helps.values())).sum(), text

    run.train(len(data), o.seed, loss_of)
    run.use_ema()
    report(Images(o.data, "held", SIZE), Teacher(clip, words, table(o.data, "held"), o.device))
    clip.half().save_pretrained(final)


if __name__ == "__main__":
    main()
