"""What the miniature is to say once guidance is built in: away from the bare prompt."""

import sys
from pathlib import Path
from shutil import copytree

import torch
from diffusers import UNet2DConditionModel

sys.path.insert(0, str(Path(__file__).parents[2] / "miniature"))

from unet import RIVALS, SHARED, Words, bare, guided, learn_only, load_unet, rival

from sliderspace.models.backbones import PRESETS

TEXTS = ["a fat monster with horns", "a robot toy, smiling", ""]


def the_models(folder: Path) -> tuple[Words, UNet2DConditionModel]:
    """Text tower and UNet of the miniature."""
    pipeline = Path(PRESETS["mini"].folder)
    for part in ("text_encoder", "tokenizer"):
        copytree(pipeline / part, folder, dirs_exist_ok=True)
    return Words(folder, torch.device("cpu")), load_unet(pipeline / "unet").requires_grad_(False)


def test_a_bare_prompt_keeps_what_it_gives(tmp_path: Path) -> None:
    words, unet = the_models(tmp_path)
    x, t = torch.randn(3, 32, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([900, 400, 100])
    texts = [bare(text) for text in TEXTS]
    assert texts == ["a monster", "a robot toy", ""]
    plain = unet(x, t, words.states(texts)).sample
    ones = torch.ones(3)
    torch.testing.assert_close(guided(unet, words, x, t, [texts, texts], ones), plain, rtol=1e-4, atol=1e-4)
    assert (guided(unet, words, x, t, [TEXTS, texts], ones) - plain)[:2].abs().amax((1, 2, 3)).min() > 0.05


def test_each_caption_is_guided_by_its_own_push(tmp_path: Path) -> None:
    words, unet = the_models(tmp_path)
    x, t = torch.randn(3, 32, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([900, 400, 100])
    plain = unet(x, t, words.states(TEXTS)).sample
    once, mixed = (
        guided(unet, words, x, t, [TEXTS, [bare(text) for text in TEXTS]], torch.tensor(push))
        for push in ((1.0, 1.0, 1.0), (0.0, 2.0, 1.0))
    )
    torch.testing.assert_close(mixed[0], plain[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mixed[1] - plain[1], 2 * (once[1] - plain[1]), rtol=1e-4, atol=1e-4)


def test_a_short_caption_is_moved_by_what_whole_ones_differ_in(tmp_path: Path) -> None:
    words, unet = the_models(tmp_path)
    whole = ["a shiny teal monster with no horns, teal background"]
    others = [rival(whole[0], "teal")]
    assert others == ["a shiny blue monster with no horns, teal background"]
    assert rival(whole[0], "no horns") == "a shiny teal monster with horns, teal background"
    short = ["a teal monster"]
    x, t = torch.randn(1, 32, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([900])
    v = {text: unet(x, t, words.states([text])).sample for text in (*short, *whole, *others)}
    moved = guided(unet, words, x, t, [short, whole, others], torch.tensor([0.5]))
    expected = v[short[0]] + 0.5 * (v[whole[0]] - v[others[0]])
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-4)


def test_of_the_words_with_rivals_those_that_others_share_are_left(tmp_path: Path) -> None:
    words, _ = the_models(tmp_path)
    learn_only(words, " ".join(RIVALS), SHARED)
    table = words.tower.get_input_embeddings().weight
    words.states(["a teal monster with no horns, three eyes and a tail, purple background"]).sum().backward()
    assert table.grad is not None
    learnt = table.grad.abs().sum(1).nonzero().flatten().tolist()
    said = words.tokenizer.convert_ids_to_tokens(learnt)
    assert {*said} == {"teal</w>", "no</w>", "horns</w>", "three</w>", "purple</w>"}


def test_learning_a_few_words_leaves_every_other_prompt_as_it_was(tmp_path: Path) -> None:
    words, unet = the_models(tmp_path)
    first, _ = the_models(tmp_path)
    learn_only(words, "three eyes no horns purple background", "eyes")
    learnt = [p for p in words.tower.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(learnt, lr=0.3, weight_decay=0.0)
    texts = ["a monster with three eyes", "a monster with no horns, purple background"]
    x, t = torch.randn(2, 32, 8, 8), torch.tensor([900, 400])
    unet(x, t, words.states(texts)).sample.square().mean().backward()
    adam.step()
    assert sum(p.numel() for p in learnt) == words.tower.get_input_embeddings().weight.numel()
    assert (words.states(texts) - first.states(texts)).abs().amax((1, 2)).min() > 0.01
    others = ["", "a monster", "a green dragon with a tail, smiling", "a creature in ink style"]
    assert words.states(others).equal(first.states(others))
