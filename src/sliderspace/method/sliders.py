"""SliderBank: every slider of a space as one stacked low-rank adaptor of a frozen denoiser.

For each target layer the bank holds A [K, r, in] and B [K, out, r] and adds Σₖ sᵦₖ·Bₖ(Aₖ x) to row b, with strengths s
[B, K]. One forward pass can then train many sliders (one-hot rows), draw a whole sweep, or a page of sparse mixes. A
zero row is the base model to the bit, and with no strength set the layers cost nothing.
"""

import math
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Up

CROSS_KV = r".*\.attn2\.to_[kv]"  # a UNet's keys and values of cross-attention, as published


def target_layers(denoiser: nn.Module, pattern: str) -> dict[str, nn.Linear]:
    """The linear layers whose whole module path matches a regular expression. None at all is an error, never a slider
    that does nothing."""
    found = {n: m for n, m in denoiser.named_modules() if re.fullmatch(pattern, n) and isinstance(m, nn.Linear)}
    if not found:
        raise BadInput(
            f"no linear layer of {type(denoiser).__name__} has a path like {pattern}: sliders would do nothing"
        )
    return found


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
    ) -> None:
        super().__init__()
        if count < 1 or rank < 1:
            raise BadInput(f"{count} sliders of rank {rank}: both must be at least 1")
        self.count, self.rank, self.up = count, rank, up
        self.layers = target_layers(denoiser, pattern)
        random = torch.Generator().manual_seed(seed)
        self.down, self.ups = nn.ParameterDict(), nn.ParameterDict()
        for path, layer in self.layers.items():
            device, key = layer.weight.device, path.replace(".", "/")
            a_KRI = torch.randn((count, rank, layer.in_features), generator=random) / math.sqrt(layer.in_features)
            b_KOR = nn.functional.normalize(torch.randn((count, layer.out_features, rank), generator=random), dim=1)
            b_KOR = b_KOR if up == "frozen" else torch.zeros_like(b_KOR)
            self.down[key] = nn.Parameter((a_KRI * (0.01 if up == "frozen" else 1.0)).to(device))
            self.ups[key] = nn.Parameter(b_KOR.to(device), requires_grad=up == "trained")
        self._strengths: Tensor | None = None

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
        used = strengths_BK.abs().sum(0).nonzero().flatten()
        s_B1U = strengths_BK[:, used].repeat_interleave(self.rank, dim=1).unsqueeze(1)
        handles = [layer.register_forward_hook(self._hook(path, s_B1U, used)) for path, layer in self.layers.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, path: str, s_B1U: Tensor, used_U: Tensor) -> Any:
        down_KRI, up_KOR = (part[path.replace(".", "/")] for part in (self.down, self.ups))
        if len(used_U) < self.count:  # choosing all would cost a copy forward and another backward
            down_KRI, up_KOR = down_KRI[used_U], up_KOR[used_U]
        a_UI, b_UO = down_KRI.flatten(0, 1), up_KOR.transpose(1, 2).flatten(0, 1)

        def add(_: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
            # Strengths, B and the sum in float32, rounded once at the end: bfloat16 has no number between 1 and 1.008.
            x_BLI, wide = inputs[0], torch.promote_types(out.dtype, torch.float32)
            rows_B1U = s_B1U.to(wide).repeat(len(x_BLI) // len(s_B1U), 1, 1)
            low_BLU = (x_BLI @ a_UI.T.to(x_BLI.dtype)).to(wide) * rows_B1U
            return (out.to(wide) + low_BLU @ b_UO.to(wide)).to(out.dtype)

        return add

    @torch.no_grad()
    def set_values(self, path: str, part: slice, down_KRI: Tensor, up_KOR: Tensor) -> None:
        """Put values into sliders `part` at one layer."""
        key = path.replace(".", "/")
        self.down[key][part] = down_KRI
        self.ups[key][part] = up_KOR

    def tensors(self) -> dict[str, Tensor]:
        """Flat names -> float32 values: `<layer path>.down` [K, r, in] and `<layer path>.up` [K, out, r]."""
        return {
            f"{path}.{end}": part[path.replace(".", "/")].detach()
            for path in self.layers
            for end, part in (("down", self.down), ("up", self.ups))
        }

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
