"""The random numbers behind a galaxy's posterior samples: its own, and the same wherever it is inferred.

A flow turns standard-normal numbers into samples.  If all galaxies of a survey shared theirs, the sampling errors
of their medians would not average out; if they were taken from one long stream, a galaxy's answer would depend on
its place in the batch.  So each galaxy has a generator of its own, seeded by a hash of the seed and of the data:
of the pattern in which the flux rises and falls from pixel to pixel.  Noise makes this pattern unique, and it
changes neither with the unit of the flux nor, but for rare ties, with the last digit of a rounding.  The numbers
are made on the CPU, whatever device turns them into samples.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["galaxy_keys", "normal_variates"]


def galaxy_keys(flux: Tensor, seed: int) -> NDArray[np.uint64]:
    """Seeds (N,) of the generators of N galaxies.

    Parameters
    ----------
    flux : Tensor of shape (N, P)
        Their spectra, zero where masked.
    seed : int
        Seed of the run; may be negative.
    """
    values = flux.cpu()
    patterns = np.packbits((values[:, 1:] > values[:, :-1]).numpy(), axis=-1)
    start = hashlib.sha256(str(seed).encode())
    keys = np.empty(len(patterns), dtype=np.uint64)
    for row, pattern in enumerate(patterns):
        digest = start.copy()
        digest.update(pattern.tobytes())
        keys[row] = int.from_bytes(digest.digest()[:8], "little")
    return keys


def normal_variates(keys: NDArray[np.uint64], n_samples: int, n_columns: int) -> Tensor:
    """Standard-normal numbers (N, n_samples, n_columns) in single precision, a row for each key."""
    out = torch.empty(len(keys), n_samples, n_columns)
    generator = torch.Generator()
    for row, key in zip(out, keys, strict=True):
        # the key as the signed number of the same bits, which is what torch takes
        row.normal_(generator=generator.manual_seed(int(key.astype(np.int64))))
    return out
