"""GroupNorm for training on a CPU: PyTorch's own backward pass (2.13) takes most of a VAE's step, channels last.

`quicken(model)` changes how a model's GroupNorms are computed and nothing of what they are: the saved weights stay
ordinary."""

from typing import Any

import torch
from torch import Tensor, nn

ROW = 2048  # values: small channel counts are handled so many at a time, since short inner loops are slow


def _rows(x: Tensor) -> Tensor:
    """[B, C, ...] -> a view [B, R, k·C] where memory is channels-last, k pixels beside each other."""
    flat = x.movedim(1, -1).reshape(len(x), -1, x.shape[1])
    beside = max(1, ROW // x.shape[1])
    while flat.shape[1] % beside:
        beside //= 2
    return flat.reshape(len(x), -1, beside * x.shape[1])


def _back(x_BRK: Tensor, like: Tensor) -> Tensor:
    return x_BRK.view(len(like), *like.shape[2:], like.shape[1]).movedim(-1, 1)


def _sums(x_BRK: Tensor, channels: int) -> Tensor:
    """Sums over pixels in fp32 [B, C]."""
    return x_BRK.sum(1).view(len(x_BRK), -1, channels).sum(1, dtype=torch.float32)


def _wide(v_BC: Tensor, x_BRK: Tensor) -> Tensor:
    """A value a channel, repeated along the rows of x: [B, 1, k·C] in x's precision."""
    return v_BC.to(x_BRK.dtype).repeat(1, x_BRK.shape[2] // v_BC.shape[1]).unsqueeze(1)


class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_C: Tensor, bias_C: Tensor, groups: int, eps: float) -> Tensor:
        rows, (b, c) = _rows(x), x.shape[:2]
        count = x.numel() // (b * groups)
        moments = torch.stack([_sums(rows, c), _sums(rows * rows, c)]).view(2, b, groups, -1).sum(-1) / count
        rstd = (moments[1] - moments[0] * moments[0]).clamp(min=0).add(eps).rsqrt()
        mean_BC, rstd_BC = (m.repeat_interleave(c // groups, 1) for m in (moments[0], rstd))
        scale_BC = rstd_BC * weight_C
        y = torch.addcmul(_wide(bias_C - mean_BC * scale_BC, rows), rows, _wide(scale_BC, rows))
        ctx.save_for_backward(x, weight_C, mean_BC, rstd_BC)
        ctx.groups, ctx.count = groups, count
        return _back(y, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_C, mean_BC, rstd_BC = ctx.saved_tensors
        rows, d_rows, (b, c) = _rows(x), _rows(grads[0]), x.shape[:2]
        d_BC = _sums(d_rows, c)
        along_BC = (_sums(d_rows * rows, c) - mean_BC * d_BC) * rstd_BC  # Σ dy · x̂
        means = torch.stack([d_BC * weight_C, along_BC * weight_C]).view(2, b, ctx.groups, -1).sum(-1) / ctx.count
        mean_d_BC, mean_along_BC = (m.repeat_interleave(c // ctx.groups, 1) for m in means)
        # dx = rstd (w dy − mean(w dy) − x̂ mean(w dy x̂))
        on_x_BC = -rstd_BC * rstd_BC * mean_along_BC
        rest_BC = -rstd_BC * mean_d_BC - on_x_BC * mean_BC
        dx = torch.addcmul(_wide(rest_BC, rows), rows, _wide(on_x_BC, rows))
        dx = dx.addcmul_(d_rows, _wide(rstd_BC * weight_C, rows))
        return _back(dx, x), along_BC.sum(0), d_BC.sum(0), None, None


class QuickGroupNorm(nn.GroupNorm):
    """The same normalisation, with sums and products over channels-last memory."""

    def forward(self, input: Tensor) -> Tensor:  # torch's own name
        if not (torch.is_grad_enabled() and input.requires_grad):
            return super().forward(input)
        return _GroupNorm.apply(input, self.weight, self.bias, self.num_groups, self.eps)


def quicken(model: nn.Module) -> nn.Module:
    """The same model with quick GroupNorms; its parameters and their names stay."""
    for module in model.modules():
        if type(module) is nn.GroupNorm and module.affine:
            module.__class__ = QuickGroupNorm
    return model
