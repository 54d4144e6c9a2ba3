"""Trains the creatures' UNet on the frozen latents of the VAE, told by the text tower of the CLIP.

    python unet.py --data DATA --out OUT/unet --vae OUT/vae/final --clip OUT/clip/text --images 800000 \\
        --learn_words 1 --louder 80

v-prediction on a schedule with zero terminal SNR and trailing timesteps (Lin et al. 2023, arXiv 2305.08891): few-step
sampling stays good and StableDiffusionPipeline loads the result unchanged. `--out` keeps the latents of all pictures
between runs, a file for each shard.

`--learn_words 1` teaches the text tower too, from where the CLIP left it, and saves it in `OUT/unet/text`. A contrast
of whole captions says little of a word for one part: the layers wrote 300 times what the embeddings are, the states at
"horns" differed by 3 % from those of no word at all, and after 400,000 passes the UNet still drew what it liked.
`--louder 80` multiplies the embeddings once, at the start; the rest of the tower does nearly what it did.
`--departing 0.4` takes that share of the pictures from those with words that are the last to be learnt, and their
captions always say so: what a shorter caption gives stays what it is among all pictures. A share whose word was left
out as often as any other made the bare prompt's pictures depart too.
`--plain 0.5` leaves all that can be left out of that share of the other captions: a bare prompt is what is asked most
often, has the most to vary, and is otherwise a tenth of them.

`--start FOLDER --guided 2` then builds guidance into those weights (as Meng et al. 2023, arXiv 2210.03142, but guided
away from the bare prompt of the same kind and not from the empty one): a prompt gives what it says without the second
call, and a bare prompt keeps its whole variety. With `--departing` those captions alone are guided, once more than the
others, and what every other caption gives is held where it is.

`--only_slow 1` learns nothing but the embeddings of those words: a prompt that says none of them gives what it gave, to
the bit, and whatever was measured with it holds.
`--rivals 1` does so for the few words that are obeyed least, guided away from what each is most often taken for, and
with nothing else to be guided by: both captions say all that is true of the picture, and differ in that word. Away from
the bare prompt "teal" went on past the middle of its hue, and "no horns" learnt the grounds that were drawn with it."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from classes import table
from common import Run, arguments, images
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from factors import KINDS, Creature
from render import SIZE
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer
from vae import load
from words import background, caption, colouring, has, poses

NOUNS = ("creature", *KINDS)
NO_TEXT = 0.1  # share of captions left empty, so that classifier-free guidance can be used
SLOW = (  # groups of words that are the last to be learnt, since they call what is seldom or small
    ("no horns",),
    ("three eyes", "one eye"),
    ("two eyes",),
    ("teal",),
    ("small eyes", "big eyes"),
    ("mouth open",),
    ("sleepy",),
    ("purple background", "teal background"),
    ("long horns", "spikes", "spots", "stripes", "a small head", "a big head"),
)
LEFT = "no purple background"  # of these words: taught alone they moved grounds to pink (docs/log.md)
RIVALS = {  # a word that is seldom obeyed: what is drawn in its place, and how far to push away from it
    "no horns": ("horns", 2.0),
    "three eyes": ("one eye", 2.0),
    "two eyes": ("three eyes", 1.5),
    "teal": ("blue", 0.4),
    "purple background": ("pink background", 0.8),
}
SHARED = "eyes background"  # of these words, with others that are obeyed
ALONE = 0.6  # share of their captions that say little else
KEPT = (0.0, 0.5, 1.0)  # captions here say more than a CLIP's: a departure is rare, and its word is to be learnt


def build() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=32,
        out_channels=32,
        block_out_channels=(128, 160),
        layers_per_block=1,
        norm_num_groups=16,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=192,
        attention_head_dim=4,  # diffusers' misnomer: this is the number of heads
    )


def load_unet(folder: Path) -> UNet2DConditionModel:
    """A finished UNet in fp32; or, of a run that is not finished, its EMA."""
    if (folder / "config.json").exists():
        return UNet2DConditionModel.from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True)
    unet = build()
    with safe_open(folder / "state.safetensors", "pt") as file:
        unet.load_state_dict({name: file.get_tensor(f"ema/unet.{name}") for name in unet.state_dict()})
        print(f"{folder}: after {file.metadata()['seen']} pictures")
    return unet


def scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


@torch.no_grad()
def encoded(vae: AutoencoderKL, pictures: np.ndarray, device: torch.device) -> Tensor:
    """Scaled latents fp16 [N, 32, 8, 8] of pictures uint8 [N, SIZE, SIZE, 3]."""
    parts = []
    for i in range(0, len(pictures), 50):
        x = torch.from_numpy(np.array(pictures[i : i + 50])).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.autocast(device.type, torch.bfloat16):
            parts.append((vae.encode(x).latent_dist.mean.float() * vae.config.scaling_factor).half().cpu())
    return torch.cat(parts).contiguous()


def latents(data: Path, split: str, vae: Path | str, out: Path, device: torch.device) -> Tensor:
    """Latents of all shards of a split, each shard's computed once."""
    network, parts = load(vae, device).eval(), []
    for shard, pictures in zip(sorted(data.glob(f"{split}*.rgb")), images(data, split, SIZE), strict=True):
        path = out / f"latents-{shard.stem}.safetensors"
        if not path.exists():
            save_file({"latents": encoded(network, pictures, device)}, path)
        parts.append(load_file(path)["latents"])
    return torch.cat(parts)


class Words:
    """Tokenizer and text tower, frozen unless they are to learn."""

    def __init__(self, folder: Path | str, device: torch.device, learn: bool = False) -> None:
        self.tokenizer, self.device = CLIPTokenizer.from_pretrained(folder), device
        tower = CLIPTextModel.from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True)
        self.tower = tower.to(device).eval().requires_grad_(learn)
        self.tower.set_attn_implementation("eager")

    def states(self, texts: list[str]) -> Tensor:
        """[B, tokens, width]."""
        tokens = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        return self.tower(tokens.input_ids.to(self.device)).last_hidden_state


def learn_only(words: Words, said: str, left: str) -> None:
    """Leave the embeddings of the words `said`, and not of those `left`, as all there is to learn of a text tower."""
    tokens, others = words.tokenizer([said, left]).input_ids  # both hold what begins and ends a text
    rows = sorted({*tokens} - {*others})
    table = words.tower.requires_grad_(False).get_input_embeddings().weight.requires_grad_()
    learnt = torch.zeros(len(table), 1, device=table.device).index_fill_(0, torch.tensor(rows, device=table.device), 1)
    table.register_hook(lambda gradient: gradient * learnt)


@torch.no_grad()
def louder(tower: nn.Module, times: float) -> None:
    """Let the words themselves be heard in a text tower's states, beside what its layers make of them: trained from
    small values the layers wrote 300 times what the embeddings are."""
    for part in (tower.embeddings.token_embedding, tower.embeddings.position_embedding):
        part.weight.mul_(times)


def bare(text: str) -> str:
    """The caption's own noun and nothing else: "a fat robot toy with horns" -> "a robot toy"; of no text, no text."""
    return next((f"a {noun}" for noun in NOUNS if noun in text), "")


def rival(text: str, word: str) -> str:
    """The caption with what its word is taken for: "a teal monster, smiling" -> "a blue monster, smiling"."""
    return text.replace(word, RIVALS[word][0], 1)


@torch.no_grad()
def guided(
    teacher: UNet2DConditionModel, words: Words, x: Tensor, t: Tensor, prompts: Sequence[list[str]], push_B: Tensor
) -> Tensor:
    """The teacher's v of the first of `prompts`, row b moved `push_B[b]` times from the last of them toward the one
    before."""
    states = torch.cat([words.states(texts) for texts in prompts])
    count = len(prompts)
    v = teacher(torch.cat([x] * count), t.repeat(count), states).sample.float().chunk(count)
    return v[0] + push_B.view(-1, 1, 1, 1) * (v[-2] - v[-1])


def slow(creatures: list[Creature], groups: Sequence[Sequence[str]]) -> list[list[int]]:
    """Of each group of words, the places of the creatures that have what one of them says."""
    said = [{*has(c), *poses(c), colouring(c), background(c)} for c in creatures]
    return [[i for i, words in enumerate(said) if not words.isdisjoint(group)] for group in groups]


def main() -> None:
    o = arguments(
        "Train the creatures' UNet",
        images=800_000,
        batch=64,
        lr=1e-3,
        vae="",
        clip="",
        start="",
        guided=1.0,
        learn_words=0,
        only_slow=0,
        rivals=0,
        louder=1.0,
        ema=0.9995,
        departing=0.0,
        plain=0.0,
    )
    torch.set_flush_denormal(True)
    z_all, creatures = latents(o.data, "train", o.vae, o.out, o.device), table(o.data, "train")
    few = bool(o.only_slow or o.rivals)  # words, and nothing else
    words = Words(o.clip, o.device, learn=bool(o.learn_words or few))
    louder(words.tower, o.louder)  # a state that is there already has it in its weights
    unet = load_unet(Path(o.start)) if o.start else build()
    unet = unet.to(o.device, memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())
    teacher, first = deepcopy(unet).requires_grad_(False), words
    called = [(word,) for word in RIVALS] if o.rivals else SLOW
    if few:
        first = Words(o.clip, o.device)
        unet.requires_grad_(False)
        said = " ".join(word.removeprefix("a ") for group in called for word in group)
        learn_only(words, said, SHARED if o.rivals else LEFT)
    abar = scheduler().alphas_cumprod.to(o.device)
    both = nn.ModuleDict({"unet": unet, "words": words.tower})
    decay = 0.0 if few else 0.01  # which would move every other word
    run = Run(both, o.out / "state.safetensors", images=o.images, batch=o.batch, lr=o.lr, ema=o.ema, decay=decay)

    groups = slow(creatures, called) if o.departing else []

    def kept(said: tuple[str, ...], rng: np.random.Generator) -> tuple[float, ...]:
        if said and not o.rivals:
            return KEPT
        return KEPT[:1] if rng.random() < (ALONE if said else o.plain) else KEPT

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        rng = np.random.default_rng((o.seed, 2, run.step))
        index = index.copy()
        certain: list[tuple[str, ...]] = [()] * len(index)
        if groups:
            for k in np.flatnonzero(rng.random(len(index)) < o.departing):
                group = rng.integers(len(groups))
                index[k], certain[k] = rng.choice(groups[group]), called[group]
        texts = [
            "" if not said and rng.random() < NO_TEXT else caption(creatures[i], rng, kept(said, rng), said)
            for i, said in zip(index, certain, strict=True)
        ]
        z0 = z_all[index].to(o.device).float().contiguous(memory_format=torch.channels_last)
        noise = torch.randn_like(z0)
        t = (torch.rand(len(z0), device=o.device).sqrt() * 1000).long()  # more of the noisy steps, where words decide
        a, s = abar[t].sqrt().view(-1, 1, 1, 1), (1 - abar[t]).sqrt().view(-1, 1, 1, 1)
        x = a * z0 + s * noise
        if o.rivals:
            whole = [
                caption(creatures[i], rng, (1.0,), said) if said else text
                for i, said, text in zip(index, certain, texts, strict=True)
            ]
            others = [rival(text, said[0]) if said else text for said, text in zip(certain, whole, strict=True)]
            prompts, push = [texts, whole, others], [RIVALS[said[0]][1] if said else 0.0 for said in certain]
        else:
            prompts = [texts, [bare(text) for text in texts]]
            push = [(o.guided - 1) * (bool(said) or not groups) for said in certain]
        with torch.autocast(o.device.type, torch.bfloat16):
            away = torch.tensor(push, device=o.device)
            target = guided(teacher, first, x, t, prompts, away) if o.guided > 1 or o.rivals else a * noise - s * z0
            v = unet(x, t, words.states(texts)).sample
        return nn.functional.mse_loss(v.float(), target), ""

    run.train(len(z_all), o.seed, loss_of)
    run.use_ema()
    unet.half().save_pretrained(o.out / "final")
    if o.learn_words or few:
        words.tower.half().save_pretrained(o.out / "text")
        CLIPTokenizer.from_pretrained(o.clip).save_pretrained(o.out / "text")  # one in use keeps how it padded


if __name__ == "__main__":
    main()
