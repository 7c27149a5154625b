"""Random generators that are a pure function of a few numbers, so that no state need be saved to resume."""

import hashlib

import torch


def seed_of(*numbers: int | str) -> int:
    """A well mixed seed in [0, 2**63) for a tuple of integers and words; equal tuples give equal seeds."""
    text = "/".join(str(number) for number in numbers)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator_of(*numbers: int | str) -> torch.Generator:
    """A CPU generator seeded with `seed_of(*numbers)`."""
    return torch.Generator().manual_seed(seed_of(*numbers))
