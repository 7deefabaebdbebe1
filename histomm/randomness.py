"""The global generators: seeding them from the iteration, and leaving them as they were."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_everything(*key: int) -> None:
    """Seed the global generators of torch (CPU and all CUDA devices), numpy and Python from non-negative numbers.

    The numbers are mixed by ``numpy.random.SeedSequence``, so that neighbouring keys share no stream. The CPU and CUDA
    generators are seeded directly: ``torch.manual_seed`` also records a stack trace for each kind of device that is
    not initialised, which takes 0.3 ms. Where CUDA is not initialised, nothing was drawn there, and nothing is seeded.
    """
    words = np.random.SeedSequence(key).generate_state(4)
    seed = int(words[0]) << 32 | int(words[1])
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    np.random.seed(int(words[2]))
    random.seed(int(words[3]))


@contextmanager
def preserved_randomness() -> Iterator[None]:
    """Leave the global generators of torch (CPU and current CUDA device), numpy and Python as they were."""
    python, legacy = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)
