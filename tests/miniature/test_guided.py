"""What the miniature is to say once guidance is built in: away from the bare prompt."""

import sys
from pathlib import Path
from shutil import copytree

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "miniature"))

from unet import Words, bare, guided, load_unet

from sliderspace.models.backbones import PRESETS

TEXTS = ["a fat monster with horns", "a robot toy, smiling", ""]


def test_a_bare_prompt_keeps_what_it_gives(tmp_path: Path) -> None:
    pipeline = Path(PRESETS["mini"].folder)
    for part in ("text_encoder", "tokenizer"):
        copytree(pipeline / part, tmp_path, dirs_exist_ok=True)
    words = Words(tmp_path, torch.device("cpu"))
    unet = load_unet(pipeline / "unet").requires_grad_(False)
    x, t = torch.randn(3, 32, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([900, 400, 100])
    texts = [bare(text) for text in TEXTS]
    assert texts == ["a monster", "a robot toy", ""]
    plain = unet(x, t, words.states(texts)).sample
    torch.testing.assert_close(guided(unet, words, x, t, texts, 1.0), plain, rtol=1e-4, atol=1e-4)
    assert (guided(unet, words, x, t, TEXTS, 1.0) - plain)[:2].abs().amax((1, 2, 3)).min() > 0.05
