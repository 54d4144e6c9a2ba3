"""Bytes alive and arithmetic done by code that runs on tensors without memory."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry

_aten = torch.ops.aten
FLOPS: dict[Any, Callable[..., int]] = {
    # 2·m·n·k for products, convolutions and attention; the CPU's fused attention is not in torch's own table
    **flop_registry,
    _aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[_aten._scaled_dot_product_flash_attention],
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        _aten._scaled_dot_product_flash_attention_backward
    ],
}


class Meter(TorchDispatchMode):
    """Counts bytes alive (`live`, `peak`) and floating-point operations (`flops`) of everything computed within the
    block.

    Storages of `known` modules are not counted. What a kernel takes for itself and gives back is not seen, nor what an
    allocator wastes.
    """

    def __init__(self, known: Iterable[nn.Module] = ()) -> None:
        super().__init__()
        self.live = self.peak = self.flops = 0
        self._alive: dict[int, weakref.ref[Any]] = {}
        for tensor in (t for module in known for t in (*module.parameters(), *module.buffers())):
            self._see(tensor, free=True)

    def _see(self, tensor: Tensor, free: bool = False) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), 0 if free else storage.nbytes()
        if key not in self._alive:
            self._alive[key] = weakref.ref(storage, lambda _: self._gone(key, size))
            self.live += size
            self.peak = max(self.peak, self.live)

    def _gone(self, key: int, size: int) -> None:
        self.live -= size
        del self._alive[key]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, Tensor):
                self._see(tensor)
        if (count := FLOPS.get(func._overloadpacket)) is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        return out
