"""A call of frozen networks -> the same by torch.compile: forward and backward as a program of its own."""

import warnings
from collections.abc import Callable
from typing import Any, ParamSpec

import torch
from torch import Tensor

from sliderspace.core.errors import BadInput

Given = ParamSpec("Given")
Backend = str | Callable[..., Any]


def while_training(plain: Callable[Given, Tensor], backend: Backend) -> Callable[Given, Tensor]:
    """`plain`, compiled where gradients are asked for: a program is made of it at the first call of each shape. Raises
    BadInput where none can be made."""
    from torch._dynamo.exc import TorchDynamoException

    program = torch.compile(plain, dynamic=False, backend=backend)
    loaded = False

    def call(*args: Given.args, **kwargs: Given.kwargs) -> Tensor:
        nonlocal loaded
        if not torch.is_grad_enabled():
            return plain(*args, **kwargs)
        if not loaded:  # what is read from files when first asked for, no compiler can follow
            with torch.no_grad():
                plain(*args, **kwargs)
            loaded = True
        try:
            with warnings.catch_warnings():  # of what diffusers calls that remembers its answers: it is computed again
                warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")
                return program(*args, **kwargs)
        except TorchDynamoException as error:
            raise BadInput(
                f"torch.compile makes no program here: {str(error).strip().splitlines()[0]}\n"
                "Leave out --compile. On a processor it needs a C++ compiler, such as g++."
            ) from error

    return call
