"""Trains the creatures' CLIP: a tokenizer, an image tower, and a text tower that becomes the pipeline's text encoder.

    python clip.py --data DATA --out OUT/clip --images 600000

The image tower is a small ConvNeXt that looks at 64 pixels, the text tower a CLIP's; together they are the
VisionTextDualEncoder of transformers. A CLIP's own image tower, patches and attention, saw colours and styles after
120,000 pictures and nothing of horns, arms or eyes: changed in the renderer they moved its embedding by a tenth of what
a colour does, each picture another way. A second of training of the ConvNeXt is worth five of it.

`--text FOLDER` begins with a text tower that has learnt words already: what ships began with the pipeline's own.

In a batch of anything, style and colour alone tell most captions apart, and horns or lids are hardly learnt by either
tower. So of the batches that are compared with their captions (every third) every second is of one style, one kind or
one look (kind, style and both colours alike); captions say most of what can be said (a third are short, because prompts
are); and linear heads on the image embedding, thrown away at the end, are asked for the factors themselves, in the
other batches without any caption. Pictures are blurred and noised at random: the tower will look at previews, not only
at finished pictures.
"""

import json
from pathlib import Path

import numpy as np
import torch
from classes import Bins, table
from common import Images, Run, arguments, augment, factor_losses
from factors import KINDS, STYLES, Creature
from judge import SEEN, small
from render import SIZE
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    ConvNextConfig,
    ConvNextModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)
from words import KEEPS, body, caption, ground

LENGTH = 32  # tokens
RICH = (0.7, 1.0, 0.3)
WIDTH, OUT = 192, 64  # of the towers' states, and of the embedding


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


def text_tower(words: CLIPTokenizer) -> CLIPTextModel:
    """One that knows nothing yet. quick_gelu has no fused kernel on CPU."""
    ends = {"eos_token_id": words.eos_token_id, "bos_token_id": words.bos_token_id, "pad_token_id": words.pad_token_id}
    size = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": 3, "num_hidden_layers": 3}
    length = {"vocab_size": len(words), "max_position_embeddings": LENGTH}
    return CLIPTextModel(CLIPTextConfig(**size, **length, **ends, hidden_act="gelu", projection_dim=OUT))


def build(text: CLIPTextModel) -> VisionTextDualEncoderModel:
    vision = ConvNextModel(
        ConvNextConfig(
            hidden_sizes=[64, 96, 160, WIDTH],
            depths=[1, 2, 3, 1],
            patch_size=4,
            image_size=SEEN,
            hidden_size=WIDTH,  # of its last stage, as the dual encoder asks
            layer_scale_init_value=0.3,  # 1e-6, the default, is for a hundred times as many passes
        )
    )
    config = VisionTextDualEncoderConfig.from_vision_text_configs(vision.config, text.config, projection_dim=OUT)
    return VisionTextDualEncoderModel(config, vision_model=vision, text_model=text)


def groups_of(creatures: list[Creature]) -> list[np.ndarray]:
    """Indices of the pictures of each style, and of each kind in clay: batches in which only details differ."""
    style = np.array([c.style for c in creatures])
    kind = np.array([c.kind for c in creatures])
    return [np.flatnonzero(style == s) for s in STYLES] + [
        np.flatnonzero((kind == k) & (style == STYLES[0])) for k in KINDS
    ]


def looks_of(creatures: list[Creature], least: int) -> list[np.ndarray]:
    """Indices of pictures of one kind, style, body colour and background, where there are `least`: only form tells them
    apart."""
    look = np.array([f"{c.kind}, {c.style}, {body(c)}, {ground(c)}" for c in creatures])
    names, counts = np.unique(look, return_counts=True)
    return [np.flatnonzero(look == name) for name in names[counts >= least]]


class Told(nn.Module):
    """The CLIP with linear heads on its image embedding, for training only."""

    def __init__(self, clip: VisionTextDualEncoderModel, outputs: int) -> None:
        super().__init__()
        self.clip, self.heads = clip, nn.Linear(OUT, outputs)

    def factors(self, image_BD: Tensor) -> Tensor:
        """Logits [B, classes] of unit embeddings, scaled to about unit variance a value."""
        return self.heads(image_BD * image_BD.shape[1] ** 0.5)


class Teacher:
    """Pictures and captions of one table as batches, and how well a CLIP matches them."""

    def __init__(
        self, clip: VisionTextDualEncoderModel, words: CLIPTokenizer, creatures: list[Creature], device: torch.device
    ) -> None:
        self.clip, self.words, self.creatures, self.device = clip, words, creatures, device

    def pictures(self, x01: Tensor) -> Tensor:
        """Unit embeddings [B, D]."""
        pixels = (small(x01) * 2 - 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16):
            return unit(self.clip.get_image_features(pixel_values=pixels).pooler_output)

    def texts(self, said: list[str]) -> Tensor:
        """Unit embeddings [B, D]."""
        tokens = self.words(said, padding="longest", truncation=True, max_length=LENGTH, return_tensors="pt")
        with torch.autocast(self.device.type, torch.bfloat16):
            found = self.clip.get_text_features(**tokens.to(self.device))
            return unit(found.pooler_output)

    def scores(self, index: np.ndarray, image_BD: Tensor, rng: np.random.Generator) -> Tensor:
        """Logits [B, B] of pictures against captions."""
        said = [caption(self.creatures[i], rng, RICH if rng.random() < 0.67 else KEEPS[:2]) for i in index]
        logits = image_BD @ self.texts(said).T * self.clip.logit_scale.exp()
        same = torch.tensor([[a == b for b in said] for a in said], device=self.device)
        hidden = same & ~torch.eye(len(said), dtype=torch.bool, device=self.device)  # equal captions: no wrong answers
        return logits.masked_fill(hidden, -30.0)


def unit(x: Tensor) -> Tensor:
    return nn.functional.normalize(x.float(), dim=-1)


def both_ways(scores: Tensor) -> Tensor:
    label = torch.arange(len(scores), device=scores.device)
    return (nn.functional.cross_entropy(scores, label) + nn.functional.cross_entropy(scores.T, label)) / 2


def nearest(scores: Tensor) -> float:
    """The share of pictures whose own caption scores highest."""
    return float((scores.argmax(1) == torch.arange(len(scores), device=scores.device)).float().mean())


@torch.no_grad()
def report(held: Images, teacher: Teacher) -> None:
    rng = np.random.default_rng(7)
    groups = {
        "anything": np.arange(min(256, len(held))),
        **dict(zip((*STYLES, *KINDS), groups_of(teacher.creatures), strict=True)),
    }
    for name, index in filter(lambda group: len(group[1]), groups.items()):
        pictures = teacher.pictures(held.batch(index[:256], teacher.device))
        scores = teacher.scores(index[:256], pictures, rng)
        print(
            f"held-out {name}: loss {both_ways(scores):.3f}, own nearest of {len(scores)}: {nearest(scores):.3f}",
            flush=True,
        )


def main() -> None:
    o = arguments("Train the creatures' CLIP", images=600_000, batch=128, lr=1e-3, text="", help_weight=0.1, louder=1.0)
    torch.set_flush_denormal(True)
    data, creatures = Images(o.data, "train", SIZE), table(o.data, "train")
    rng, final = np.random.default_rng(o.seed), o.out / "final"
    kept = final if (final / "tokenizer.json").exists() else o.text
    words = (
        CLIPTokenizer.from_pretrained(kept) if kept else tokenizer([caption(c, rng) for c in creatures[:20_000]], final)
    )
    words.save_pretrained(final)
    look = {"size": {"height": SEEN, "width": SEEN}, "do_center_crop": False}
    CLIPImageProcessor(**look, image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(final)
    tower = (
        CLIPTextModel.from_pretrained(o.text, dtype=torch.float32, use_safetensors=True)
        if o.text
        else text_tower(words)
    )
    tower.set_attn_implementation("eager")  # twice as fast as the fused kernel on CPU at 32 tokens
    clip = build(tower).to(memory_format=torch.channels_last)
    bins = Bins(creatures)
    classes, labels = bins.classes(), bins.labels(creatures).to(o.device)
    alike = (groups_of(creatures), looks_of(creatures, o.batch))
    told = Told(clip, sum(map(len, classes.values()))).to(o.device)
    teacher = Teacher(clip, words, creatures, o.device)
    run = Run(told, o.out / "state.safetensors", images=o.images, batch=o.batch, lr=o.lr, decay=0.05)

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        rng = np.random.default_rng((o.seed, 1, run.step))
        compared, turn = run.step % 3 == 0, run.step // 3
        if compared and turn % 2:
            groups = alike[turn // 2 % 2]
            group = groups[rng.integers(len(groups))]
            index = np.sort(rng.choice(group, o.batch, replace=len(group) < o.batch))
        image_BD = teacher.pictures(augment(data.batch(index, o.device)))
        helps = factor_losses(told.factors(image_BD), labels[index], classes)
        loss = o.help_weight * torch.stack(list(helps.values())).sum()
        told_of = " ".join(f"{k} {v:.2f}" for k, v in helps.items())
        if not compared:
            return loss, told_of
        scores = teacher.scores(index, image_BD, rng)
        return loss + both_ways(scores), f"top-1 of {o.batch} {nearest(scores):.3f} {told_of}"

    run.train(len(data), o.seed, loss_of)
    run.use_ema()
    report(Images(o.data, "held", SIZE), Teacher(clip, words, table(o.data, "held"), o.device))
    clip.half().save_pretrained(final)
    clip.text_model.save_pretrained(o.out / "text")
    CLIPTokenizer.from_pretrained(final).save_pretrained(o.out / "text")  # one in use keeps how it padded


if __name__ == "__main__":
    main()
