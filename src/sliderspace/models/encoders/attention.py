"""Attention for encoders on a CPU: the plain one of transformers, with a backward pass that is the same for any number
of threads.

torch's own backward of the softmax works in blocks of sixteen rows within a thread's share and adds the rows left over
in another order, so that the last bit depends on where shares begin. bfloat16 makes that a different number here and
there, and three hundred updates carry it into the second digit of what is measured.
"""

from typing import Any

import torch
from torch import Tensor

NAME = "sliderspace"


class Softmax(torch.autograd.Function):
    """Over the last axis, in float32."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        p = torch.softmax(scores, -1, dtype=torch.float32)
        ctx.save_for_backward(p)
        ctx.dtype = scores.dtype
        return p

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (p,) = ctx.saved_tensors
        weighed = gradients[0] * p
        return (weighed - p * weighed.sum(-1, keepdim=True)).to(ctx.dtype)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """As transformers calls it: query, key, value [B, heads, T, d] -> [B, T, heads, d] and the weights. Encoders drop
    nothing out."""
    scores = query @ key.transpose(-1, -2) * scaling
    weights = Softmax.apply(scores if attention_mask is None else scores + attention_mask).to(query.dtype)  # pyright: ignore
    return (weights @ value).transpose(1, 2).contiguous(), weights


def register() -> str:
    """Make transformers know it; returns its name."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    return NAME
