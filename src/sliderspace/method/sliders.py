"""SliderBank: every slider of a space as one stacked low-rank adaptor of a frozen denoiser.

For each target layer the bank holds A [K, r, in] and B [K, out, r] and adds Σₖ sᵦₖ·Bₖ(Aₖ x) to row b, with strengths s
[B, K]. One forward pass can then train many sliders (one-hot rows), draw a whole sweep, or a page of sparse mixes. A
zero row is the base model to the bit, and with no strength set the layers cost nothing.
"""

import math
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from sliderspace.core.errors import BadInput
from sliderspace.core.seeds import seed_for
from sliderspace.core.settings import Settings, Up
from sliderspace.models.backbones.base import Backbone
from sliderspace.storage.files import load_tensors, open_tensors
from sliderspace.storage.stamps import damaged

CROSS_KV = r".*\.attn2\.to_[kv]"  # a UNet's keys and values of cross-attention, as published


def target_layers(denoiser: nn.Module, pattern: str) -> dict[str, nn.Linear | nn.Conv2d]:
    """The linear layers whose whole module path matches a regular expression; a convolution of one pixel is one. None
    at all is an error, never a slider that does nothing."""
    found = {n: m for n, m in denoiser.named_modules() if re.fullmatch(pattern, n) and is_linear(m)}
    if not found:
        raise BadInput(
            f"no linear layer of {type(denoiser).__name__} has a path like {pattern}: sliders would do nothing"
        )
    return found


def is_linear(layer: nn.Module) -> TypeGuard[nn.Linear | nn.Conv2d]:
    """Whether a layer is one matrix for each token or pixel."""
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1))


def _widths(layer: nn.Linear | nn.Conv2d) -> tuple[int, int]:
    """Features in and out."""
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    return layer.in_channels, layer.out_channels


def _tokens(x: Tensor) -> Tensor:
    """A layer's input as [B, L, features]; a convolution's is [B, features, H, W], an embedding's [B, features]."""
    return x.flatten(2).mT if x.ndim == 4 else x.unsqueeze(1) if x.ndim == 2 else x


_Acting = tuple[Tensor, Tensor, Tensor | None]  # A, B and, where these are the same for all rows, strengths [B, 1, M]


def _added(acting: _Acting, x: Tensor, out: Tensor) -> Tensor:
    """A layer's out + s·B(A x) for M rank-1 adaptors a row, A [M, in] and B [M, out] for all rows, or [B, M, ·] for
    each with s in B. A batch of n·B rows repeats them n times."""
    a, b, s_B1M = acting
    x_BLI, out_BLO = _tokens(x), _tokens(out)
    a_M, b_M = a.to(x_BLI.dtype), b.to(out.dtype)
    times = len(x_BLI) // len(a if s_B1M is None else s_B1M)
    s_M = s_B1M
    if times > 1 and s_M is None:
        a_M, b_M = a_M.repeat(times, 1, 1), b_M.repeat(times, 1, 1)
    elif times > 1 and s_M is not None:
        s_M = s_M.repeat(times, 1, 1)
    # A product of a matrix and a vector costs a processor several times what multiplying and summing does.
    alone = a.shape[-2] == 1
    low_BLM = (x_BLI * a_M).sum(-1, keepdim=True) if alone else x_BLI @ a_M.mT
    if s_M is not None:
        low_BLM = (low_BLM * s_M).to(low_BLM.dtype)
    # One call, which adds in float32 and rounds once at the end: what a slider adds is small beside the sum.
    low_BLM = low_BLM.to(out.dtype)
    whole_BLO = (
        torch.addcmul(out_BLO, low_BLM, b_M)
        if alone
        else torch.baddbmm(out_BLO, low_BLM, b_M.expand(len(x_BLI), -1, -1))
    )
    if out.ndim == 3:
        return whole_BLO
    return (whole_BLO.mT if out.ndim == 4 else whole_BLO).reshape(out.shape)


class SliderBank(nn.Module):
    """K sliders of rank r on the layers of a denoiser that match a pattern. Values are float32 whatever the denoiser's
    precision.

    `up="frozen"` holds B at random unit columns (published); "trained" starts B at zero and A at random rows, so that
    every slider begins as the base model, and the objective's smooth denominator bears Δφ = 0.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        count: int,
        *,
        pattern: str = CROSS_KV,
        rank: int = 1,
        up: Up = "trained",
        seed: int = 0,
        first: int = 0,
    ) -> None:
        super().__init__()
        if count < 1 or rank < 1:
            raise BadInput(f"{count} sliders of rank {rank}: both must be at least 1")
        self.count = count
        self.rank = rank
        self.up = up
        self.indices = range(first, first + count)  # the numbers of these sliders in their space
        self._now: dict[str, _Acting] = {}  # what acts, by layer
        self._standing = False
        self.layers = target_layers(denoiser, pattern)
        # Quantized layers hold bytes, and compute in the precision of what is left whole.
        self.dtype = next((p.dtype for p in denoiser.parameters() if p.is_floating_point()), torch.float32)
        # The values of all layers stand side by side in two tensors: an update of few sliders costs what its number of
        # calls costs, and whatever treats all values alike (Adam, casts, gathers) is one call and not one a layer.
        ends = zip(*(_widths(layer) for layer in self.layers.values()), strict=True)
        self.inputs, self.outputs = (list(widths) for widths in ends)
        starts = [self._start(torch.Generator().manual_seed(seed_for(seed, "slider", k))) for k in self.indices]
        down_KRI, up_KRO = (torch.stack(half) for half in zip(*starts, strict=True))
        device = next(iter(self.layers.values())).weight.device
        self.down = nn.Parameter(down_KRI.to(device))
        self.ups = nn.Parameter(up_KRO.to(device), requires_grad=up == "trained")

    def _start(self, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """One slider's A [r, all inputs] and B [r, all outputs]: a function of its own generator alone."""
        downs: list[Tensor] = []
        ups: list[Tensor] = []
        for inputs, outputs in zip(self.inputs, self.outputs, strict=True):
            a_RI = torch.randn((self.rank, inputs), generator=random) / math.sqrt(inputs)
            b_OR = nn.functional.normalize(torch.randn((outputs, self.rank), generator=random), dim=0)
            downs.append(a_RI * 0.01 if self.up == "frozen" else a_RI)
            ups.append(b_OR.T if self.up == "frozen" else torch.zeros_like(b_OR.T))
        return torch.cat(downs, -1), torch.cat(ups, -1)

    def __len__(self) -> int:
        return self.count

    def trained(self) -> list[nn.Parameter]:
        """The parameters an optimiser moves, each with the slider as its first axis."""
        return [p for p in self.parameters() if p.requires_grad]

    @contextmanager
    def active(self, strengths_BK: Tensor | None) -> Generator[None]:
        """Within the block, row b of every denoiser call runs with strengths s[b]. A batch of n·B rows repeats them n
        times.

        Only sliders with a non-zero strength are computed; if there is none, no layer is touched.
        """
        if strengths_BK is None or not bool(strengths_BK.any()):
            yield
            return
        with nullcontext() if self._standing else self.standing():
            self._now.update(self._acting(strengths_BK))
            try:
                yield
            finally:
                self._now.clear()

    @contextmanager
    def standing(self) -> Generator[None]:
        """Within the block the layers' hooks stay in place, and do nothing but where `active` says what to add. A
        compiled denoiser is the same program only while its hooks are the same."""
        handles = [layer.register_forward_hook(self._hook(path)) for path, layer in self.layers.items()]
        self._standing = True
        try:
            yield
        finally:
            self._standing = False
            for handle in handles:
                handle.remove()

    def _hook(self, path: str) -> Any:
        now = self._now

        def add(_: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
            return _added(now[path], inputs[0], out) if path in now else out

        return add

    def _acting(self, strengths_BK: Tensor) -> "dict[str, _Acting]":
        """What acts on each row at each layer. All layers are gathered, scaled and cast together: with few sliders an
        update's cost is its number of calls."""
        used = strengths_BK.any(0).nonzero().flatten()
        s_BU = strengths_BK[:, used]
        most = int(s_BU.count_nonzero(1).max())
        down_URI, up_URO = (p if len(used) == self.count else p[used] for p in (self.down, self.ups))
        s_B1U = None
        if most == len(used) < len(s_BU):  # the same sliders in every row: one matrix for all
            s_B1U = s_BU.repeat_interleave(self.rank, dim=1).unsqueeze(1)
        else:  # each row has its own
            s_BM, place_BM = s_BU.abs().topk(most)
            s_BM = s_BU.gather(1, place_BM)
            down_URI = down_URI[place_BM].flatten(1, 2)
            up_URO = (up_URO[place_BM] * s_BM[..., None, None]).flatten(1, 2)
        down, up = (half.flatten(0, -2) if s_B1U is not None else half for half in (down_URI, up_URO))
        a_L, b_L = down.to(self.dtype).split(self.inputs, -1), up.to(self.dtype).split(self.outputs, -1)
        return {path: (a, b, s_B1U) for path, a, b in zip(self.layers, a_L, b_L, strict=True)}

    def tensors(self) -> dict[str, Tensor]:
        """Flat names -> float32 values: `<layer path>.down` [K, r, in] and `<layer path>.up` [K, out, r], views."""
        down_L, up_L = self.down.detach().split(self.inputs, -1), self.ups.detach().split(self.outputs, -1)
        named = zip(self.layers, down_L, up_L, strict=True)
        return {name: t for path, a, b in named for name, t in ((f"{path}.down", a), (f"{path}.up", b.mT))}

    def load_tensors(self, values: dict[str, Tensor]) -> None:
        """The inverse of `tensors`. Raises BadInput when the names or shapes are those of another model or setting."""
        own = self.tensors()
        if own.keys() != values.keys() or any(own[n].shape != values[n].shape for n in own):
            raise BadInput("these sliders were made for another model, rank or set of layers")
        for name, value in own.items():
            value.copy_(values[name])

    def values_per_slider(self) -> int:
        """How many numbers one slider holds, trained ones only."""
        return sum(p[0].numel() for p in self.trained())


def bank_for(settings: Settings, backbone: Backbone, sliders: range | None = None) -> SliderBank:
    """An untrained bank of the settings' shape on a model: all sliders of the space, or some of them."""
    return SliderBank(
        backbone.denoiser,
        len(sliders) if sliders else settings.sliders,
        first=sliders.start if sliders else 0,
        pattern=backbone.layers[settings.targets],
        rank=settings.rank,
        up=settings.up,
        seed=settings.seed,
    )


def stored_values(path: Path, count: int) -> dict[str, Tensor]:
    """The values of `count` trained sliders under the names of `SliderBank.tensors`. Raises DamagedFile where they are
    not those of one bank."""
    file = open_tensors(path, kind="sliders")
    layers = sorted({name.rpartition(".")[0] for name in file.parts})
    due = {f"{layer}.down": f"float32 {count} R I{i}" for i, layer in enumerate(layers)}
    due |= {f"{layer}.up": f"float32 {count} O{i} R" for i, layer in enumerate(layers)}
    if not due or due.keys() != file.parts.keys():
        raise damaged(path, "does not hold two halves of every layer")
    return load_tensors(path, kind="sliders", expect=due)[0]


def check_fit(values: Mapping[str, Tensor], denoiser: nn.Module, name: str) -> None:
    """Raises BadInput where the denoiser of the model `name` lacks a layer that stored values are for, or has it at
    another width."""
    layers = dict(denoiser.named_modules())
    for key in sorted(values):
        path, _, half = key.rpartition(".")
        layer = layers.get(path)
        width = values[key].shape[2 if half == "down" else 1]
        if layer is None or not is_linear(layer) or width != _widths(layer)[half == "up"]:
            raise BadInput(f"these sliders were made for another model: {name} has no {path} of their size")
