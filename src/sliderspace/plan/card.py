"""The device of a run: its name, its memory in GiB, and its matrix rate in FLOP/s."""

import os
import time
from dataclasses import dataclass

import torch

from sliderspace.models.device import precision_for

GIB = 2.0**30
CPU = torch.device("cpu")
ASSUMED_GIB, ASSUMED_RATE = 24.0, 165e12  # an RTX 4090: bfloat16 products, float32 sums


@dataclass(frozen=True)
class Card:
    """Where the run will be. `rate` is its matrix rate, FLOP/s."""

    name: str
    gib: float
    rate: float
    cuda: bool


def card_for(device: str, memory_gb: float | None = None) -> Card:
    """A card of `memory_gb`; else the visible GPU; else this machine's processor where it is asked for, or an assumed
    card."""
    if memory_gb is not None:
        return Card("a card as asked for", memory_gb, ASSUMED_RATE, cuda=True)
    if device == "cpu":
        return Card("this machine's processor", _host_gib(), processor_rate(), cuda=False)
    if torch.cuda.is_available():
        where = torch.device("cuda" if device == "auto" else device)
        seen = torch.cuda.get_device_properties(where)
        rate = matmul_rate(where, precision_for(where, "auto"), 8192)
        return Card(seen.name, seen.total_memory / GIB, rate, cuda=True)
    return Card("an assumed card (no GPU is visible here)", ASSUMED_GIB, ASSUMED_RATE, cuda=True)


def processor_rate() -> float:
    """FLOP/s of this machine's processor, in the precision that it has instructions for; some milliseconds of work."""
    return matmul_rate(CPU, precision_for(CPU, "auto"), 512)


def matmul_rate(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """FLOP/s of square matrix products, the best of a few."""
    a = torch.ones(side, side, device=device, dtype=dtype)

    def seconds() -> float:
        start = time.perf_counter()
        torch.mm(a, a)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    return 2 * side**3 / min(seconds() for _ in range(5))


def _host_gib() -> float:
    """This machine's memory; 16 where the system does not say."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB if hasattr(os, "sysconf") else 16.0
