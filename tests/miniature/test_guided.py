"""What the miniature is to say once guidance is built in: away from the bare prompt, and from a weaker model."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "miniature"))

from unet import FORMING, Guide, Weaker, Words, bare, load_unet

from sliderspace.models.backbones import PRESETS

TEXTS = ["a fat monster with horns", "a robot toy, smiling", ""]
PIPELINE = Path(PRESETS["mini"].folder)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def guide() -> Guide:
    words = Words(PIPELINE / "text_encoder", CPU, tokens=str(PIPELINE / "tokenizer"))
    return Guide(load_unet(PIPELINE / "unet").requires_grad_(False), words, push=1.0)


def asked() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(3, 32, 8, 8, generator=torch.Generator().manual_seed(1))
    return x, torch.tensor([900, FORMING, FORMING - 1])


def test_a_bare_prompt_keeps_what_it_gives(guide: Guide) -> None:
    assert [bare(text) for text in TEXTS] == ["a monster", "a robot toy", ""]
    x, t = asked()
    texts = [bare(text) for text in TEXTS]
    plain = guide.teacher(x, t, guide.words.states(texts)).sample
    torch.testing.assert_close(guide(x, t, texts), plain, rtol=1e-4, atol=1e-4)
    assert (guide(x, t, TEXTS) - plain).abs().amax((1, 2, 3)).tolist()[:2] > [0.05, 0.05]


def test_bare_prompts_are_led_away_from_a_weaker_model_in_the_noisier_steps(guide: Guide) -> None:
    weaker = Weaker(PIPELINE, CPU)
    away = Guide(guide.teacher, guide.words, guide.push, weaker, away=2.0)
    x, t = asked()
    torch.testing.assert_close(away(x, t, TEXTS), guide(x, t, TEXTS), rtol=1e-3, atol=1e-3)  # away from itself: nothing
    with torch.no_grad():
        weaker.unet.conv_out.bias.add_(0.1)  # says .1 more of everything
    for texts, less in ((TEXTS, [0.0, 0.0, 0.0]), (["a monster", "a robot toy", ""], [-0.2, -0.2, 0.0])):
        moved = away(x, t, texts) - guide(x, t, texts)
        torch.testing.assert_close(moved.mean((1, 2, 3)), torch.tensor(less), rtol=1e-2, atol=1e-3)
