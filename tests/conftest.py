"""Every test starts from the same seeds and, in this process, one thread: results must not depend on either.

`tiny` is a folder of real models at toy size: pipelines of diffusers and image towers of transformers with random weights, loaded
by the code that loads large ones. A whole discovery on them takes seconds.
"""

import json
import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when it is first imported, and by the processes that tests start
os.environ["HF_HUB_OFFLINE"] = "1"  # a test that asks the network is a wrong test

import hypothesis
import numpy as np
import pytest

if TYPE_CHECKING:
    from sliderspace.backbones import Backbone
    from sliderspace.encoders import Encoder
    from sliderspace.engine import Engine

hypothesis.settings.register_profile("house", deadline=None, derandomize=True)
hypothesis.settings.load_profile("house")


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:  # tests that do not need it should not wait for it
        sys.modules["torch"].set_num_threads(1)
        sys.modules["torch"].manual_seed(0)


# ---- tiny models

PIXELS, LATENT = 32, 8
WORDS = 24  # tokens a prompt may have; every letter is one


@dataclass(frozen=True)
class Tiny:
    """Folders of models that know nothing and are whole. `velocity` has zero terminal SNR; `noise` predicts noise."""

    velocity: Path
    noise: Path
    clip: Path
    dino: Path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    import torch

    from sliderspace.backbones.load import quiet_loading

    quiet_loading()
    torch.set_num_threads(1)  # session fixtures are made before any test's own seeds and threads
    root = tmp_path_factory.mktemp("tiny")
    folders = Tiny(root / "velocity", root / "noise", root / "clip", root / "dino")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        _save_pipeline(folders.velocity, prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")
        _save_pipeline(folders.noise, prediction_type="epsilon", timestep_spacing="leading")
        _save_clip(folders.clip)
        _save_dino(folders.dino)
    return folders


def _save_pipeline(folder: Path, **sampler: Any) -> None:
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    words = _tokenizer(folder)
    unet = UNet2DConditionModel(
        sample_size=LATENT, in_channels=4, out_channels=4, block_out_channels=(16, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16, attention_head_dim=2,
    )
    _speak_up(unet)
    text = CLIPTextConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=len(words), projection_dim=16,
        max_position_embeddings=WORDS, eos_token_id=words.eos_token_id, bos_token_id=words.bos_token_id, pad_token_id=words.pad_token_id,
    )
    vae = AutoencoderKL(
        latent_channels=4, sample_size=PIXELS, block_out_channels=(8, 8, 16), down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3, layers_per_block=1, norm_num_groups=4, mid_block_add_attention=False,
    )
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                              set_alpha_to_one=True, steps_offset=1, **sampler)
    StableDiffusionPipeline(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=words, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)


def _speak_up(unet: Any) -> None:
    """Random attention hardly shows beside the residual stream; a trained model's does, and sliders need it to."""
    for name, parameter in unet.named_parameters():
        if name.endswith(("to_out.0.weight", "proj_out.weight", "conv_out.weight")):
            parameter.data *= 3


def _tokenizer(folder: Path) -> Any:
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    made = CLIPTokenizer.from_pretrained(folder, model_max_length=WORDS)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    return made


def _save_clip(folder: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    shared = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "projection_dim": 24}
    config = CLIPConfig(text_config={**shared, "vocab_size": 64, "bos_token_id": 62, "eos_token_id": 63},
                        vision_config={**shared, "image_size": PIXELS, "patch_size": 8}, projection_dim=24)
    CLIPModel(config).save_pretrained(folder)
    _save_preprocessor(folder, "CLIPImageProcessor", size={"shortest_edge": PIXELS}, crop=PIXELS)


def _save_dino(folder: Path) -> None:
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=7, mlp_ratio=2)
    Dinov2Model(config).save_pretrained(folder)
    _save_preprocessor(folder, "BitImageProcessor", size={"shortest_edge": 33}, crop=28)  # DINOv2 resizes beyond its crop


def _save_preprocessor(folder: Path, kind: str, *, size: dict[str, int], crop: int) -> None:
    steps = {
        "image_processor_type": kind, "do_resize": True, "size": size, "resample": 3, "do_center_crop": True,
        "crop_size": {"height": crop, "width": crop}, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711], "do_convert_rgb": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(steps))


# ---- what tests make of them

@pytest.fixture(scope="session")
def backbone(tiny: Tiny) -> "Backbone":
    """The velocity model in three steps, float32."""
    from sliderspace.backbones import load_backbone

    return load_backbone(str(tiny.velocity), steps=3, guidance=1.0, device="cpu", precision="float32")


@pytest.fixture(scope="session")
def encoder(tiny: Tiny) -> "Encoder":
    import torch

    from sliderspace.encoders import load_encoder

    return load_encoder(tiny.clip, identity="tiny", device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="session")
def small(tiny: Tiny) -> dict[str, Any]:
    """Settings of a discovery of seconds that still has every part: two prompts, two shards, a checkpoint."""
    return {
        "prompts": ("a robot", "a person"), "backbone": str(tiny.velocity), "encoder": str(tiny.clip), "steps": 3, "guidance": 1.0,
        "precision": "float32",
        "samples": 130, "sliders": 3, "targets": "attention", "objective": "sized", "until": 0.6, "updates": 60, "lr": 5e-3,
    }


@pytest.fixture(scope="session")
def make_engine(small: dict[str, Any]) -> "Callable[..., Engine]":
    """An engine on a folder: the small settings with some of them changed."""
    from sliderspace.config import Speed, settings_from
    from sliderspace.engine import Engine
    from sliderspace.store import RunFolder

    def make(folder: Path, *, speed: Speed | None = None, **changed: Any) -> Engine:
        return Engine(settings_from({**small, **changed}), speed or Speed(device="cpu"), RunFolder(folder))

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, make_engine: "Callable[..., Engine]") -> Path:
    """The folder of a finished small run, never to be changed: copy it first."""
    from sliderspace.summary import report_run

    folder = tmp_path_factory.mktemp("finished") / "run"
    engine = make_engine(folder)
    with engine.run.open_for_writing():
        engine.write_config()
        list(engine.stages())
        report_run(engine.run)
    return folder


