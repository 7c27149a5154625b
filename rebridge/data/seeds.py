"""Random generators that are a pure function of a few numbers.

So no state need be saved to resume.
"""

import hashlib

import torch


def seed_of(*numbers: int | str) -> int:
    """Mix a tuple of integers and words into a seed in [0, 2**63).

    Equal tuples give equal seeds.
    """
    text = "/".join(str(number) for number in numbers)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator_of(*numbers: int | str) -> torch.Generator:
    """Seed a CPU generator with `seed_of(*numbers)`."""
    return torch.Generator().manual_seed(seed_of(*numbers))
