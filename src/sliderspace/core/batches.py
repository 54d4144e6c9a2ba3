"""Work in batches that fits whatever memory there is."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from sliderspace.core.errors import SliderSpaceError

Result = TypeVar("Result")


class BatchSize:
    """How many images or lanes at a time. Halved where the device's memory does not suffice, and remembered."""

    def __init__(self, size: int) -> None:
        self.size = size

    def halve(self, tried: int) -> bool:
        """Half of what was tried from now on; False where one was tried already."""
        self.size = max(1, min(self.size, tried) // 2)
        torch.cuda.empty_cache()
        return tried > 1


def in_batches(
    first: int, last: int, size: "int | BatchSize", work: Callable[[range], Result]
) -> Iterator[tuple[range, Result]]:
    """`work` on the indices first … last−1, `size` at a time, and half as many from then on where memory does not
    suffice.

    Raises SliderSpaceError when it does not even hold one.
    """
    batch = BatchSize(size) if isinstance(size, int) else size
    while first < last:
        part = range(first, min(first + batch.size, last))
        try:
            result = work(part)
        except torch.OutOfMemoryError as error:
            if not batch.halve(len(part)):
                raise SliderSpaceError(
                    "the device's memory does not hold one image: try --quantize 4bit, or a smaller --resolution"
                ) from error
            continue
        yield part, result
        first = part.stop
