"""Spaces made by hand, of values that plainly do something and units that are not 1, and their files in diffusers."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sliderspace.core.settings import Speed, settings_from
from sliderspace.measure.results import MadeFrom, SpaceFile
from sliderspace.method.denoise import render
from sliderspace.method.directions import Directions
from sliderspace.space.labels import Label, write_labels
from sliderspace.space.space import SliderSpace
from sliderspace.storage.files import save_json, save_tensors, stored_fingerprint
from sliderspace.storage.run_folder import RunFolder

Pipelines = Callable[[], Any]  # a fresh pipeline each time
K, RANK, DIM = 3, 2, 12
SEEDS = [4, 6]


def target_layers(model: nn.Module, pattern: str) -> dict[str, nn.Linear]:
    found = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and re.fullmatch(pattern, n)}
    assert found
    return found


def make_space(
    folder: Path,
    layers: Mapping[str, nn.Linear],
    *,
    count: int = K,
    size: float = 0.3,
    identity: str = "s",
    **settings: Any,
) -> SliderSpace:
    random = torch.Generator().manual_seed(11)
    values: dict[str, Tensor] = {}
    for path, layer in layers.items():
        values[f"{path}.down"] = torch.randn(count, RANK, layer.in_features, generator=random) / layer.in_features**0.5
        values[f"{path}.up"] = torch.randn(count, layer.out_features, RANK, generator=random) * size
    rows_KD = np.linalg.qr(np.random.default_rng(5).normal(size=(DIM, count)))[0].T
    directions = Directions(
        components_KD=rows_KD,
        mean_TD=np.random.default_rng(6).normal(size=(2, DIM)),
        explained_variance_K=np.arange(count, 0, -1) / 7,
        explained_variance_ratio_K=np.arange(count, 0, -1) / 70,
        total_variance=10 / 7,
        sigma_TK=np.full((2, count), 1 / 3),
        step_share=0.03,
        centring="step",
        encoder="an-encoder",
        count=260,
        trajectories=130,
        step_indices=(1, 2),
    )
    chosen = settings_from(
        {"prompts": ("a robot",), "samples": 130, "sliders": count, "rank": RANK, "targets": "attention", **settings}
    )
    run = RunFolder(folder)
    with run.open_for_writing():
        save_json(run.config, chosen.model_dump(mode="json"), kind="config", fingerprint="c")
        directions.save(run.directions, "d")
        save_tensors(run.sliders, values, kind="sliders", fingerprint=identity, history=[])
        listed = [{"index": k, "unit": 0.5 + 0.3 * k} for k in range(count)]
        made_from = MadeFrom(directions="d", sliders=identity)
        space = SpaceFile.model_validate({"made_from": made_from, "settings": chosen, "sliders": listed})
        space.write(run.space, "m")
        write_labels(run, [Label(name="red hair" if k == 1 else None) for k in range(count)], identity)
    return SliderSpace.load(folder, Speed(device="cpu"))


def change_settings(folder: Path, **changed: Any) -> None:
    """Let a finished space say that it was made with other settings."""
    run = RunFolder(folder)
    space = SpaceFile.read(run.space)
    settings = space.settings.model_copy(update=changed)
    space.model_copy(update={"settings": settings}).write(run.space, stored_fingerprint(run.space) or "")


def by_number(paths: list[Path]) -> dict[int, Path]:
    return dict(enumerate(paths))


def load_adapters(pipe: Any, paths: Mapping[int, Path], strengths: Mapping[int, float]) -> None:
    for k in strengths:
        pipe.load_lora_weights(paths[k].parent, weight_name=paths[k].name, adapter_name=f"s{k}")
    pipe.set_adapters([f"s{k}" for k in strengths], list(strengths.values()))


def drawn(pipe: Any, **options: Any) -> Tensor:
    side = pipe.unet.config.sample_size * pipe.vae_scale_factor
    generators = [torch.Generator().manual_seed(s) for s in SEEDS]
    call = {
        "num_inference_steps": 3,
        "guidance_scale": 1.0,
        "generator": generators,
        "output_type": "pt",
        "height": side,
        "width": side,
    }
    return pipe(["a robot"] * len(SEEDS), **{**call, **options}).images


def ours(space: SliderSpace, strengths: Mapping[int, float], start_step: int = 0) -> Tensor:
    raw_NK = torch.from_numpy(np.tile(space.strengths(strengths) * space.units_K, (len(SEEDS), 1))).float()
    condition, prompt_N = space.condition(None), [0] * len(SEEDS)
    return torch.cat(
        list(render(space.backbone, space.bank, condition, SEEDS, prompt_N, raw_NK, start_step=start_step))
    )


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
