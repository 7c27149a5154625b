"""Training patches from processes of their own, kept on a device and shown several times each.

One core renders a hundredth of what a graphics card can learn from. So worker processes render chunks of patches, a thread puts
them into a pool in the device's memory, and a batch is drawn from the pool; no patch is shown more than `echo` times on average
(data echoing, Choi et al., arXiv 1907.05550), each time mirrored anew.
"""

import threading
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from rebridge.data.mixtures import Labelled, MixedPatches

CHUNK = 32
"""Patches that a worker renders at a time."""


class Chunks(IterableDataset[tuple[Tensor, ...]]):
    """Endless chunks of a stream, 8-bit pictures; each worker has seeds of its own."""

    def __init__(self, stream: MixedPatches, size: int, seed: int) -> None:
        self.stream, self.size, self.seed = stream, size, seed

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        """Yield degraded and target (CHUNK, 3, size, size) uint8, and what to treat (CHUNK, kinds)."""
        torch.set_num_threads(1)
        worker = get_worker_info()
        place, step = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        while True:
            batch = self.stream.batch(CHUNK, self.size, self.seed + place)
            yield eight_bits(batch.degraded), eight_bits(batch.target), batch.treat
            place += step


def eight_bits(image: Tensor) -> Tensor:
    """Values in [0, 1] as uint8."""
    return (image * 255).round_().to(torch.uint8)


class Pool:
    """Patches in a device's memory, the newest `capacity` of them.

    Args:
        stream: of patches.
        size: side of a patch in px.
        seed: of the stream.
        device: where they are kept.
        workers: processes that render, at least one.
        echo: how often a patch is shown on average at most.
        capacity: most patches that are kept.
    """

    def __init__(
        self,
        stream: MixedPatches,
        size: int,
        seed: int,
        device: str,
        workers: int,
        echo: float,
        capacity: int,
    ) -> None:
        self.echo, self.made, self.shown, self.waits = echo, 0, 0, 0
        loader = DataLoader(
            Chunks(stream, size, seed),
            None,
            num_workers=workers,
            multiprocessing_context="fork",
            prefetch_factor=4,
            pin_memory=device != "cpu",
        )
        self.chunks = iter(loader)  # begins the processes before this one has threads, and the device
        self.degraded, self.target = (
            torch.empty(capacity, 3, size, size, dtype=torch.uint8, device=device) for _ in range(2)
        )
        self.treat = torch.empty(0, device=device)
        self.grown = threading.Condition()
        self.fault: Exception | None = None
        self.open = True
        self.filling = threading.Thread(target=self._fill, daemon=True)
        self.filling.start()

    def _fill(self) -> None:
        try:
            while self.open:
                self._keep(*next(self.chunks))
        except Exception as fault:
            with self.grown:
                self.fault = fault
                self.grown.notify()

    def _keep(self, degraded: Tensor, target: Tensor, treat: Tensor) -> None:
        capacity, device = len(self.degraded), self.degraded.device
        if not len(self.treat):
            self.treat = torch.empty(capacity, treat.shape[1], device=device)
        place = self.made % capacity
        count = min(len(treat), capacity - place)
        for kept, new in ((self.degraded, degraded), (self.target, target), (self.treat, treat)):
            kept[place : place + count].copy_(new[:count], non_blocking=True)
        with self.grown:
            self.made += count
            self.grown.notify()

    def close(self) -> None:
        """End the thread, and the processes."""
        self.open = False
        self.filling.join()
        del self.chunks

    def batch(self, count: int) -> Labelled:
        """Draw a batch in [-1, 1]; labels and places are left out."""
        self.shown += count
        with self.grown:
            if self.shown > self.echo * self.made:
                self.waits += 1
                self.grown.wait_for(lambda: self.fault is not None or self.shown <= self.echo * self.made)
            if self.fault is not None:
                raise self.fault
            known = min(self.made, len(self.degraded))
        rows = torch.randint(known, (count,), device=self.degraded.device)
        pictures = torch.stack([self.degraded[rows], self.target[rows]]).float() / 127.5 - 1
        if torch.rand(()) < 0.5:
            pictures = pictures.flip(-1)
        degraded, target = (image.contiguous(memory_format=torch.channels_last) for image in pictures)
        none = torch.empty(0)
        return Labelled(degraded, target, self.treat[rows], none, none)
