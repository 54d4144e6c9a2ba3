"""Inception-ResNet v1, with the names of the weights that facenet-pytorch published (MIT)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

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
