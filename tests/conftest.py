"""What tests share: where the images lie, and a quiet, offline, repeatable environment."""

import contextlib
import os

import pytest
import torch
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# The first call of anything in torch takes longer than later ones, and machines are shared.
settings.register_profile("rebridge", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("rebridge")

# pytest rewrites the modules of anyio, which loads them when they are used: Python 3.11 fails where threads parse at once.
with contextlib.suppress(ImportError):
    import anyio

    for _name in dir(anyio):
        getattr(anyio, _name)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
