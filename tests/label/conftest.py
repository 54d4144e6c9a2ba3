"""A finished small run whose encoder is a CLIP that reads words too."""

import shutil
from pathlib import Path

import pytest
from support.spaces import change_settings
from support.tiny import PIXELS, WORDS, save_preprocessor, save_tokenizer

from sliderspace.core.settings import Speed
from sliderspace.space.space import SliderSpace


@pytest.fixture(scope="session")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLIP with random weights; its tokenizer knows letters."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("speaking") / "clip"
    words = save_tokenizer(folder)
    words.save_pretrained(folder)
    shared = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    shared |= {"projection_dim": 24}
    about = {"vocab_size": len(words), "max_position_embeddings": WORDS}
    about |= {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={**shared, **about},
        vision_config={**shared, "image_size": PIXELS, "patch_size": 8},
        projection_dim=24,
    )
    CLIPModel(config).save_pretrained(folder)
    save_preprocessor(folder, "CLIPImageProcessor", size={"shortest_edge": PIXELS}, crop=PIXELS)
    return folder


@pytest.fixture
def folder(finished: Path, speaking: Path, tmp_path: Path) -> Path:
    made = Path(shutil.copytree(finished, tmp_path / "run"))
    change_settings(made, encoder=str(speaking))
    return made


@pytest.fixture
def space(folder: Path) -> SliderSpace:
    return SliderSpace.load(folder, Speed(device="cpu"))
