"""Every test starts from the same seeds and, in this process, one thread: results must not depend on either."""

import os
import random
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by torch when it is first imported

import hypothesis
import numpy as np
import pytest

hypothesis.settings.register_profile("house", deadline=None, derandomize=True)
hypothesis.settings.load_profile("house")


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:  # tests that do not need it should not wait for it
        sys.modules["torch"].manual_seed(0)
