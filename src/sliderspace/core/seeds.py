"""Randomness by index: every draw is a function of (run seed, purpose, index) and of nothing that happened before.

So image 17 is the same in any batch, on any worker and after any resume, and seeds of different purposes never meet.
"""

import hashlib

import numpy as np


def seed_for(run_seed: int, purpose: str, index: int) -> int:
    """A 63-bit seed for draw `index` of `purpose`."""
    digest = hashlib.blake2b(f"{run_seed}/{purpose}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def image_seed_for(run_seed: int, purpose: str, index: int, prompts: int) -> int:
    """The seed of finished image `index` of `purpose`, which shows prompt `index` mod P: whoever draws seed s shows
    prompt s mod P, so it has that remainder. Of one prompt it is `seed_for`."""
    seed = seed_for(run_seed, purpose, index)
    return seed - seed % prompts + index % prompts


def generator_for(run_seed: int, purpose: str, index: int) -> np.random.Generator:
    """A fresh NumPy generator for draw `index` of `purpose`."""
    return np.random.default_rng(seed_for(run_seed, purpose, index))
