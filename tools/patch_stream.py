"""Batches of training patches from processes of their own, as a GPU learns from more than one core renders."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from rebridge.data.mixtures import Labelled, MixedPatches

Fields = tuple[Tensor, Tensor, Tensor]


class Rendered(IterableDataset[Fields]):
    """Endless batches, with pictures of 8 bits; each worker has seeds of its own."""

    def __init__(self, stream: MixedPatches, count: int, size: int, seed: int) -> None:
        self.stream, self.count, self.size, self.seed = stream, count, size, seed

    def __iter__(self) -> Iterator[Fields]:
        """Yield degraded and target (count, 3, size, size) uint8, and what to treat (count, kinds)."""
        torch.set_num_threads(1)
        worker = get_worker_info()
        number, step = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        while True:
            batch = self.stream.batch(self.count, self.size, self.seed + number)
            degraded, target = ((image * 255).round_().to(torch.uint8) for image in batch[:2])
            yield degraded, target, batch.treat
            number += step


def streamed(stream: MixedPatches, count: int, size: int, seed: int, device: str, workers: int) -> Iterator[Labelled]:
    """Yield batches in [-1, 1] on a device, without labels and places.

    The processes begin before the device does.

    Args:
        stream: of patches.
        count: patches of a batch.
        size: side of a patch in px.
        seed: of the stream.
        device: where they go.
        workers: processes that render, at least one.
    """
    loader = iter(
        DataLoader(
            Rendered(stream, count, size, seed),
            batch_size=None,
            num_workers=workers,
            multiprocessing_context="fork",
            prefetch_factor=4,
            pin_memory=device != "cpu",
        )
    )
    none = torch.empty(0)
    return (
        Labelled(*(_in_range(one, device) for one in pictures), treat.to(device), none, none)
        for *pictures, treat in loader
    )


def _in_range(image: Tensor, device: str) -> Tensor:
    """A picture of 8 bits as float32 in [-1, 1], channels last."""
    return (image.to(device, non_blocking=True).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
