"""Networks that judge pictures as the field reports them: Inception for FID and KID, LPIPS, DreamSim.

Thin adapters over their authors' packages (the extra `perceptual`), which fetch their own weights. Images come as
images01 [B, 3, H, W]; what comes back goes into `measure.sets` as it is.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from sliderspace.core.errors import BadInput

Features = Callable[[Tensor], Tensor]  # images01 [B, 3, H, W] -> float64 [B, D], on the CPU
Distance = Callable[[Tensor, Tensor], Tensor]  # two of them -> float64 [B], on the CPU
INCEPTION = (  # the weights that FID is defined with, of 2015-12-05; the last part of the name begins their SHA-256
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)


def inception(device: torch.device, torchscript: Path | None = None) -> Features:
    """Inception's pool3, D = 2048: torch-fidelity's, or the same network from a TorchScript file that takes images in
    [−1, 1).

    Images are resized to 299×299 as floats, bicubic and antialiased, which resizers of other FID programs are not
    (Parmar et al. 2022), and rounded to 8 bits.
    """
    net = _torchscript(torchscript) if torchscript else _torch_fidelity()
    net = net.to(device)

    @torch.no_grad()
    def features(images01: Tensor) -> Tensor:
        pixels = (_resized(images01.to(device), 299) * 255).round()
        found = net((pixels - 128) / 128) if torchscript else net(pixels.to(torch.uint8))[0]
        return found.cpu().double()

    return features


def dreamsim(device: torch.device) -> Features:
    """DreamSim's ensemble: its distance is 1 − cos of these, so that its mean over pairs is
    `variety.mean_pairwise_distance`. Images are resized to 224×224, bicubic, whatever their shape."""
    with _extra("DreamSim"):
        from dreamsim import dreamsim as load  # pyright: ignore[reportMissingImports]
    model = cast("Any", load)(pretrained=True, device=str(device))[0]

    @torch.no_grad()
    def features(images01: Tensor) -> Tensor:
        return model.embed(_resized(images01.to(device), 224)).cpu().double()

    return features


def lpips(device: torch.device) -> Distance:
    """LPIPS with AlexNet (Zhang et al. 2018) between images of one size."""
    with _extra("LPIPS"):
        from lpips import LPIPS  # pyright: ignore[reportMissingImports]
    net = cast("Any", LPIPS)(net="alex", verbose=False).to(device).eval()

    @torch.no_grad()
    def distance(first01: Tensor, second01: Tensor) -> Tensor:
        return net(first01.to(device), second01.to(device), normalize=True).flatten().cpu().double()

    return distance


def _torch_fidelity() -> nn.Module:
    with _extra("FID"):
        from torch_fidelity.feature_extractor_inceptionv3 import (  # pyright: ignore[reportMissingImports]
            FeatureExtractorInceptionV3,
        )
    weights = Path(torch.hub.get_dir(), "checkpoints", Path(INCEPTION).name)
    try:
        # torch-fidelity unpickles whatever is there: first this file is fetched by its hash, and read as tensors only
        torch.hub.load_state_dict_from_url(INCEPTION, map_location="cpu", check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:  # no connection; another hash
        raise BadInput(f"cannot fetch {INCEPTION}: {error}.\nPut the file at {weights}.") from error
    return FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(weights))


def _torchscript(path: Path) -> nn.Module:
    """TorchScript is a program of its own, restricted language: nothing of it is unpickled by Python."""
    try:
        return torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise BadInput(
            f"{path} is no TorchScript file that can be read: give Inception as torch.jit saved it"
        ) from error


def _resized(images01: Tensor, side: int) -> Tensor:
    if images01.shape[-2:] == (side, side):
        return images01.clamp(0, 1)
    return interpolate(images01.float(), size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)


@contextmanager
def _extra(what: str) -> Generator[None]:
    try:
        yield
    except ImportError as error:
        raise BadInput(f"{what} needs more libraries.\nInstall them: pip install 'sliderspace[perceptual]'") from error
