"""Five ways to spoil an array, each of which every measure has to refuse."""

import numpy as np
import pytest

each_way = pytest.mark.parametrize(
    "spoil",
    [
        lambda x: np.where(np.arange(x.size).reshape(x.shape) == 0, np.nan, x),
        lambda x: np.where(np.arange(x.size).reshape(x.shape) == 0, np.inf, x),
        lambda x: x[:0],
        lambda x: x[None],
        lambda x: x[0],
    ],
    ids=["nan", "inf", "empty", "deeper", "flatter"],
)
