"""Models without their weights: the real classes, built from configurations, on parameters of the caller's choosing.

With fake parameters (shapes without memory) the code that samples and trains can be run to see what it would need; with
random ones, to see how fast it is.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sliderspace.core.settings import Settings
from sliderspace.models.backbones import PRESETS, Preset, preset_for
from sliderspace.models.backbones.families import family_of
from sliderspace.models.backbones.pipeline import PipelineBackbone, Setup
from sliderspace.models.configs import configs_of
from sliderspace.models.encoders import Encoder, facenet, towers
from sliderspace.models.encoders.base import Preprocessing, read_json
from sliderspace.models.sources import is_repo

Fill = Callable[
    [Tensor], Tensor
]  # a parameter on the meta device -> one of its shape, precision and layout that can be computed with
CPU = torch.device("cpu")
PROMPT_TOKENS = 64  # a prompt's length where a family pads to the longest prompt and not to its window


def fake() -> Fill:
    """Parameters without memory. All tensors of one computation have to come from one call of this."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)  # real inputs stay real, so that code which looks at values runs

    def fill(parameter: Tensor) -> Tensor:
        with mode:
            return torch.empty_like(parameter, device="cpu")

    return fill


def filled(model: Any, fill: Fill, dtype: torch.dtype, device: torch.device = CPU) -> Any:
    """A model with real or fake parameters in the place of those on the meta device; frozen, laid out as loaded ones
    are."""
    made: dict[int, nn.Parameter] = {}  # tied parameters stay tied
    for module in model.modules():
        for name, old in module._parameters.items():
            if old is not None and old.is_meta:
                if id(old) not in made:
                    made[id(old)] = nn.Parameter(fill(_as_loaded(old, dtype)), requires_grad=False)
                module._parameters[name] = made[id(old)]
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else _as_loaded(buffer, dtype).to(device)
    return model.eval()


def _as_loaded(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The precision and memory layout that `pipeline` gives to what it loads."""
    layout = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
    return tensor.to(dtype if tensor.is_floating_point() else tensor.dtype, memory_format=layout)


def empty_model(name: str, folder: Path, **options: Any) -> Any:
    """A class of diffusers or transformers as the config.json of a folder says, its parameters on the meta device."""
    import diffusers
    import transformers
    from accelerate import init_empty_weights

    library: Any = diffusers if hasattr(diffusers, name) else transformers
    kind = getattr(library, name)
    if library is diffusers:
        with init_empty_weights():
            return kind.from_config(read_json(folder / "config.json"))
    Config: Any = kind.config_class  # takes the image tower's part where the file describes both towers
    with init_empty_weights():
        model = kind._from_config(Config.from_pretrained(folder), **options)
    model.tie_weights()  # emptying the weights had parted those that are one
    return model


def unloaded(family: type[PipelineBackbone], fill: Fill) -> type[PipelineBackbone]:
    """A family whose parts are built from their configurations instead of loaded."""

    class Unloaded(family):
        needs = ()  # tokenizers and weights may be missing

        def part(self, name: str, subfolder: str, dtype: torch.dtype, *, folder: Path | None = None, **_: Any) -> Any:
            return filled(empty_model(name, (folder or self.folder) / subfolder), fill, dtype, self.device)

        def tokenizer(self, name: str, subfolder: str = "tokenizer") -> Any:
            return _Words(
                self.config(subfolder.replace("tokenizer", "text_encoder")).get(
                    "max_position_embeddings", PROMPT_TOKENS
                )
            )

    return Unloaded


class _Words:
    """Stands in for a tokenizer that is not here: a prompt fills the window."""

    def __init__(self, window: int) -> None:
        self.model_max_length = window

    def __call__(self, texts: str | list[str], padding: str = "", max_length: int = 0, **_: Any) -> Any:
        if isinstance(texts, str):
            return SimpleNamespace(input_ids=[0])
        length = PROMPT_TOKENS if padding == "longest" else max_length or self.model_max_length
        ids = torch.zeros(len(texts), length, dtype=torch.int64)
        return SimpleNamespace(input_ids=ids, attention_mask=torch.ones_like(ids))

    def apply_chat_template(self, *_: Any, **__: Any) -> str:
        return ""


def unloaded_encoder(folder: Path, fill: Fill, dtype: torch.dtype, device: torch.device = CPU) -> Encoder:
    """The image encoder of a folder of configurations, with the attention that it has on a GPU."""
    config = read_json(folder / "config.json")
    if config["model_type"] == facenet.MODEL_TYPE:
        with torch.device("meta"):
            tower, dim = facenet.InceptionResnetV1().fold(), 512
    else:
        name, output = towers.FAMILIES[config["model_type"]]
        model = empty_model(name, folder, **towers.attention(config["model_type"], "cuda"))
        tower, dim = (
            towers.Tower(model, output),
            int(getattr(model.config, "projection_dim", 0) or model.config.hidden_size),
        )
    encoder = Encoder(
        nn.Identity(), Preprocessing.read(folder), dim=dim, identity="unloaded", device=device, dtype=dtype
    )
    encoder.tower = filled(tower, fill, dtype, device)
    return encoder


def preset_of(model: str) -> Preset:
    """As `preset_for`, but of a Hub repository that is no preset only the configurations are fetched."""
    unknown = model not in PRESETS and is_repo(model)
    return replace(preset_for(str(configs_of(model))), name=model, location=model) if unknown else preset_for(model)


def build(
    settings: Settings, fill: Fill, dtype: torch.dtype, device: torch.device = CPU
) -> tuple[PipelineBackbone, Encoder]:
    """The models of a discovery as `load_backbone` and `load_encoder` would give them, unloaded. Raises BadInput as
    they do."""
    preset = preset_of(settings.backbone)
    folder = configs_of(preset.location)
    small = {"auto": preset.decoder, "full": ""}.get(settings.decoder, settings.decoder)
    other, _, file = preset.weights.partition(":")  # a lone file of weights fits the pipeline's own configuration
    setup = Setup(
        name=preset.name,
        identity="unloaded",
        steps=settings.steps or preset.steps,
        guidance=preset.guidance if settings.guidance is None else settings.guidance,
        device=device,
        dtype=dtype,
        sampler=preset.sampler,
        timesteps=preset.timesteps,
        spacing=preset.spacing,
        prediction=preset.prediction,
        resolution=settings.resolution or preset.resolution,
        weights=configs_of(other) if other and not file and not Path(other).expanduser().is_file() else None,
        decoder=configs_of(small) if small else None,
    )
    encoder = unloaded_encoder(configs_of(settings.encoder or preset.encoder), fill, dtype, device)
    return unloaded(family_of(folder), fill)(folder, setup), encoder


def checkpoint(backbone: PipelineBackbone) -> None:
    """What `checkpointing` switches on in a backbone that loads: a small decoder has none."""
    backbone.denoiser.enable_gradient_checkpointing()
    if backbone.setup.decoder is None:
        backbone.checkpoint_vae(backbone.decoder)


def parameters_of(name: str, folder: Path) -> int:
    """How many values the weights of a class hold."""
    return values_of(empty_model(name, folder))


def values_of(model: nn.Module) -> int:
    """How many values a model's files hold: its parameters, and the buffers that are saved beside them (the places of
    SD 3, a batch norm's statistics)."""
    saved = model.state_dict().keys()
    buffers = sum(b.numel() for name, b in model.named_buffers() if name in saved)
    return sum(p.numel() for p in model.parameters()) + buffers
