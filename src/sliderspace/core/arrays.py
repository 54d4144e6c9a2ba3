"""The kinds of NumPy arrays that the package computes with."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Images = npt.NDArray[np.uint8]
