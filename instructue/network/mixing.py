"""A fixed turn that gives every column of an embedding a like share of what it holds.

Legend: E embedding width.
"""

import numpy as np
import torch
from torch import Tensor


def even_rotation(width: int) -> Tensor:
    """[E, E] orthogonal, its entries of one size where width is a power of two, at most sqrt(2) times that otherwise.

    Random signs, then a Hadamard transform (as in Ailon and Chazelle 2009) over the powers of two in `width` and a
    cosine transform over what is left. Always the same for the same width.
    """
    from scipy.fft import dct
    from scipy.linalg import hadamard

    halves = width & -width
    turn = np.kron(hadamard(halves) / halves**0.5, dct(np.eye(width // halves), norm="ortho", axis=0))
    signs = np.random.default_rng(0).choice([-1.0, 1.0], width)
    return torch.from_numpy((signs[:, None] * turn).astype(np.float32))
