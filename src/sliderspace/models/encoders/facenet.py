"""FaceNet: a face -> 512 numbers that say whose it is, and so see features, age and expression more finely than CLIP.

The network is Inception-ResNet v1 with the names of the weights published by facenet-pytorch (MIT), trained on
VGGFace2. They were taught on detected faces that fill the picture. Here the middle of the image is used instead of a
detection: a portrait prompt puts the face there, while a detector's box jumps from image to image and from step to
step, passes no gradient, and finds nothing in the blurred previews of early steps. The encoder cannot tell a face from
anything else: where there is none, or one far off the middle, φ describes what is there, and a discovery spends its
directions on that. Use it for portraits only. The share of the picture that is seen was chosen, not measured.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from sliderspace.core.errors import BadInput
from sliderspace.storage.files import save_bytes, save_text

MODEL_TYPE = "inception_resnet_v1"
URL = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/20180402-114759-vggface2.pt"
SHA256 = "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b"
PIXELS = 160
CROP = 0.75  # of the shorter side: a portrait's whole head with room for one that is not quite in the middle
EPS = 1e-3  # of every batch norm, from TensorFlow

Kernel = int | tuple[int, int]
Chain = tuple[tuple[int, Kernel], ...]  # convolutions in a row: channels out, kernel


class Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Kernel, *, stride: int = 1, padded: bool = True) -> None:
        super().__init__()
        padding = "same" if padded and stride == 1 else 0
        self.conv: nn.Module = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


def _chain(inputs: int, units: Chain, stride: int = 1) -> nn.Module:
    """Units in a row, the last one with the stride. A single one stands alone, as in the published names."""
    layers: list[nn.Module] = []
    for i, (outputs, kernel) in enumerate(units, start=1):
        layers.append(Unit(inputs, outputs, kernel, stride=stride if i == len(units) else 1))
        inputs = outputs
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


class Branches(nn.Module):
    """Chains side by side, and a pooled copy of the input, joined by channel: halves the side."""

    def __init__(self, inputs: int, *chains: Chain) -> None:
        super().__init__()
        self.count = len(chains)
        for i, units in enumerate(chains):
            self.add_module(f"branch{i}", _chain(inputs, units, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(
            [*(self.get_submodule(f"branch{i}")(x) for i in range(self.count)), F.max_pool2d(x, 3, 2)], dim=1
        )


class Residual(nn.Module):
    """Chains side by side, joined, brought back to the input's channels, scaled and added to it."""

    def __init__(self, channels: int, scale: float, *chains: Chain, last: bool = False) -> None:
        super().__init__()
        self.count, self.scale, self.last = len(chains), scale, last
        for i, units in enumerate(chains):
            self.add_module(f"branch{i}", _chain(channels, units))
        self.conv2d = nn.Conv2d(sum(units[-1][0] for units in chains), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([self.get_submodule(f"branch{i}")(x) for i in range(self.count)], dim=1)
        out = x + self.scale * self.conv2d(joined)
        return out if self.last else F.relu(out, inplace=True)


BLOCK35: tuple[Chain, ...] = (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (32, 3), (32, 3)))
BLOCK17: tuple[Chain, ...] = (((128, 1),), ((128, 1), (128, (1, 7)), (128, (7, 1))))
BLOCK8: tuple[Chain, ...] = (((192, 1),), ((192, 1), (192, (1, 3)), (192, (3, 1))))


class InceptionResnetV1(nn.Module):
    """Pixels [B, 3, 160, 160] -> embeddings [B, 512], not normalised. Parameters are named as published; use it in eval
    mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2d_1a = Unit(3, 32, 3, stride=2)
        self.conv2d_2a = Unit(32, 32, 3, padded=False)
        self.conv2d_2b = Unit(32, 64, 3)
        self.conv2d_3b = Unit(64, 80, 1)
        self.conv2d_4a = Unit(80, 192, 3, padded=False)
        self.conv2d_4b = Unit(192, 256, 3, stride=2)
        self.repeat_1 = nn.Sequential(*(Residual(256, 0.17, *BLOCK35) for _ in range(5)))
        self.mixed_6a = Branches(256, ((384, 3),), ((192, 1), (192, 3), (256, 3)))
        self.repeat_2 = nn.Sequential(*(Residual(896, 0.10, *BLOCK17) for _ in range(10)))
        self.mixed_7a = Branches(896, ((256, 1), (384, 3)), ((256, 1), (256, 3)), ((256, 1), (256, 3), (256, 3)))
        self.repeat_3 = nn.Sequential(*(Residual(1792, 0.20, *BLOCK8) for _ in range(5)))
        self.block8 = Residual(1792, 1.0, *BLOCK8, last=True)
        self.last_linear: nn.Module = nn.Linear(1792, 512, bias=False)
        self.last_bn: nn.Module = nn.BatchNorm1d(512, eps=EPS)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(pixels)))
        x = self.conv2d_4b(self.conv2d_4a(self.conv2d_3b(F.max_pool2d(x, 3, 2))))
        x = self.repeat_2(self.mixed_6a(self.repeat_1(x)))
        x = self.block8(self.repeat_3(self.mixed_7a(x)))
        return self.last_bn(self.last_linear(x.mean(dim=(2, 3))))

    def fold(self) -> "InceptionResnetV1":
        """Take each frozen batch norm into the convolution before it: half the activations that a gradient has to
        keep."""
        self.eval()
        for unit in self.modules():
            if isinstance(unit, Unit):
                unit.conv = fuse_conv_bn_eval(unit.conv, unit.bn)  # pyright: ignore[reportArgumentType]
                unit.bn = nn.Identity()
        self.last_linear = fuse_linear_bn_eval(self.last_linear, self.last_bn)  # pyright: ignore[reportArgumentType]
        self.last_bn = nn.Identity()
        return self


def load(folder: Path, config: dict[str, Any], device: torch.device, dtype: torch.dtype) -> tuple[nn.Module, int]:
    """The tower of a folder that `convert` wrote, and its dimension. Raises BadInput when the weights are another
    network's."""
    weights = folder / "model.safetensors"
    net = InceptionResnetV1()
    net.load_state_dict(
        _checked(load_file(weights), weights), strict=False
    )  # without its counters of batches, which only training reads
    return net.fold(), 512


def preprocessor(crop: float = CROP) -> dict[str, Any]:
    """What `preprocessor_config.json` says. `crop` in (0, 1] is the share of the shorter side that is seen; BadInput
    when it is no share.

    A smaller crop shows features larger and loses faces off the middle.
    """
    if not 0 < crop <= 1:
        raise BadInput(f"crop is a share of the picture, above 0 and at most 1, not {crop:g}")
    return {
        "size": {"shortest_edge": round(PIXELS / crop)},
        "crop_size": {"height": PIXELS, "width": PIXELS},
        "resample": 2,
        "image_mean": [0.5] * 3,  # (255 x − 127.5) / 128, as taught
        "image_std": [128 / 255] * 3,
    }


def convert(weights: Path, folder: Path, *, crop: float = CROP) -> Path:
    """Published weights (.pt or .safetensors) -> an encoder folder. Raises BadInput: no such file, not these weights,
    no place for them."""
    tensors, steps = _checked(_read(weights), weights), preprocessor(crop)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot make the folder {folder}: {error.strerror or error}") from error
    save_bytes(folder / "model.safetensors", save(tensors))
    save_text(folder / "preprocessor_config.json", json.dumps(steps, indent=2))
    save_text(
        folder / "config.json", json.dumps({"model_type": MODEL_TYPE, "source": weights.name}, indent=2)
    )  # last: it marks the end
    return folder


def is_converted(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def fetch() -> Path:
    """The folder of the published weights, downloaded and converted the first time. Raises BadInput when they cannot be
    fetched."""
    from huggingface_hub import cached_assets_path

    name = Path(URL).stem
    folder = cached_assets_path(library_name="sliderspace", namespace="facenet", subfolder=name)
    if is_converted(folder):
        return folder
    with tempfile.TemporaryDirectory() as temporary:
        weights = Path(temporary) / Path(URL).name
        try:
            torch.hub.download_url_to_file(URL, str(weights), hash_prefix=SHA256, progress=False)
        except (OSError, RuntimeError) as error:
            raise BadInput(
                f"FaceNet's weights cannot be fetched ({error}): download {URL}\nand give the file in place of the "
                f"name: {Path(URL).name}"
            ) from error
        return convert(weights, folder)


def _read(weights: Path) -> dict[str, Tensor]:
    if not weights.is_file():
        raise BadInput(f"no file {weights}: FaceNet's weights are published at {URL}")
    try:
        return (
            load_file(weights)
            if weights.suffix == ".safetensors"
            else torch.load(weights, map_location="cpu", weights_only=True)
        )
    except (
        Exception
    ) as error:  # the restricted unpickler raises a dozen kinds for a file that is damaged or not tensors
        raise BadInput(
            f"{weights} holds no weights that can be read safely; FaceNet's are published at {URL}"
        ) from error


def _checked(tensors: Any, weights: Path) -> dict[str, Tensor]:
    """The tensors that the network has, float32, without the classifier of the training set. BadInput when one is
    missing or misshapen."""
    with torch.device("meta"):
        wanted = {
            name: t.shape
            for name, t in InceptionResnetV1().state_dict().items()
            if not name.endswith("num_batches_tracked")
        }
    wrong = [
        name
        for name, shape in wanted.items()
        if not isinstance(tensors, dict) or getattr(tensors.get(name), "shape", None) != shape
    ]
    if wrong:
        raise BadInput(
            f"{weights} is not FaceNet's Inception-ResNet v1: {len(wrong)} of {len(wanted)} parts differ, such as "
            f"{wrong[0]}"
        )
    return {name: tensors[name].float().contiguous() for name in wanted}
