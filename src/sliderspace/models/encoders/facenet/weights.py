"""FaceNet's published weights -> an encoder folder, and its tower."""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from sliderspace.core.errors import BadInput
from sliderspace.models.encoders.facenet.network import InceptionResnetV1
from sliderspace.storage.files import save_bytes, save_text

MODEL_TYPE = "inception_resnet_v1"
URL = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/20180402-114759-vggface2.pt"
SHA256 = "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b"
PIXELS = 160
CROP = 0.75  # of the shorter side: a portrait's whole head with room for one that is not quite in the middle


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
    from huggingface_hub.utils import are_progress_bars_disabled

    name = Path(URL).stem
    folder = cached_assets_path(library_name="sliderspace", namespace="facenet", subfolder=name)
    if is_converted(folder):
        return folder
    with tempfile.TemporaryDirectory() as temporary:
        weights = Path(temporary) / Path(URL).name
        try:
            torch.hub.download_url_to_file(
                URL, str(weights), hash_prefix=SHA256, progress=not are_progress_bars_disabled()
            )
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
