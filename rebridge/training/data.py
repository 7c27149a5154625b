"""Data of a run: sources of pairs, batches in a fixed order, validation pairs."""

import itertools
import os
import signal
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from rebridge import degradations
from rebridge.data import ImageFolder, MixedPairs, Pair, PairedFolder, PairedSource, PairSource, SyntheticSource
from rebridge.data.belonging import looked_at, unrelated
from rebridge.data.conditions import ConditionFiles
from rebridge.data.folders import image_files
from rebridge.data.layouts import open_layout
from rebridge.data.seeds import generator_of
from rebridge.networks.conditions import Conditions, listed
from rebridge.training.config import DataConfig, FitConfig, PairedData, Phase
from rebridge.training.config_files import ConfigError, expand

NO_CONDITIONS: Conditions = {}
NAMED = 10
"""Most pairs that one warning names."""


class BatchIndices(Sampler[list[int]]):
    """The pairs of the stream in each batch of one process.

    They begin with iteration `start`.

    An iteration takes the next `batch * accumulate * processes` pairs of the stream, in this order: accumulation
    step, process, place in the batch. So the pairs of an iteration depend on that product only. `progressive` gives parts of
    the run batches of their own.
    """

    def __init__(
        self,
        batch: int,
        accumulate: int,
        processes: int,
        rank: int,
        start: int,
        iterations: int,
        progressive: Sequence[Phase] = (),
    ) -> None:
        self.accumulate, self.processes, self.rank = accumulate, processes, rank
        self.start, self.iterations = start, iterations
        self.phases = progressive or [Phase(iterations=1, patch=1, batch=batch)]

    @classmethod
    def of(cls, config: FitConfig, processes: int, rank: int = 0, start: int = 0) -> "BatchIndices":
        """Make the indices of a run."""
        sizes = config.optimisation
        return cls(sizes.batch, sizes.accumulate, processes, rank, start, sizes.iterations, config.progressive)

    def batch(self, iteration: int) -> int:
        """The pairs of one process in a pass of an iteration."""
        return self._phase(iteration)[0].batch

    def first(self, iteration: int, part: int) -> int:
        """The number of the first pair of accumulation step `part` of an iteration."""
        phase, begin, pairs = self._phase(iteration)
        passes = ((iteration - begin) * self.accumulate + part) * self.processes + self.rank
        return pairs * self.accumulate * self.processes + passes * phase.batch

    def patches(self) -> list[tuple[int, int]]:
        """The first pair of each phase, and its patch size."""
        ends = itertools.accumulate((phase.iterations for phase in self.phases[:-1]), initial=0)
        whole = BatchIndices(1, self.accumulate, self.processes, 0, 0, self.iterations, self.phases)
        return [(whole.first(end, 0), phase.patch) for end, phase in zip(ends, self.phases, strict=True)]

    def _phase(self, iteration: int) -> tuple[Phase, int, int]:
        """The phase of an iteration, its first iteration, and the pairs of one process in single passes before it."""
        begin = pairs = 0
        for phase in self.phases[:-1]:
            if iteration < begin + phase.iterations:
                return phase, begin, pairs
            begin += phase.iterations
            pairs += phase.iterations * phase.batch
        return self.phases[-1], begin, pairs

    def __len__(self) -> int:
        return (self.iterations - self.start) * self.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        for iteration in range(self.start, self.iterations):
            for part in range(self.accumulate):
                first = self.first(iteration, part)
                yield list(range(first, first + self.batch(iteration)))


def training_pairs(
    config: DataConfig,
    seed: int,
    channels: int = 3,
    patches: Sequence[tuple[int, int]] = (),
    declared: Conditions = NO_CONDITIONS,
) -> MixedPairs:
    """The stream of training pairs, of images with so many channels.

    patches: sizes from pair number n on, (n, size), in place of that of the configuration. declared: extra conditions that all
    pairs have.

    Raises ConfigError naming the key whose folder or parameter is at fault.
    """
    memory = config.cache_gigabytes * 1e9
    sources: list[PairSource] = []
    weights = []
    if config.tasks:
        images, _ = _clean_images(config, channels)
        images.load(memory)
        memory -= images.held_bytes
        for name, task in config.tasks.items():
            sources.append(_synthetic(images, config, name, declared))
            weights.append(task.weight)
    for place, part in enumerate(config.pairs):
        source = _paired(part, f"data.pairs.{place}", channels, declared, max(memory, 0))
        if config.check_pairs and os.environ.get("RANK", "0") == "0":
            _warn_of_strangers(source, f"data.pairs.{place}")
        memory -= source.clean.held_bytes + source.degraded.held_bytes
        sources.append(source)
        weights.append(part.weight)
    return MixedPairs(sources, weights, config.patch, seed, patches)


def validation_pairs(
    config: DataConfig, seed: int, channels: int = 3, declared: Conditions = NO_CONDITIONS
) -> list[Pair]:
    """The validation pairs, the same at every call.

    `validation_count` per task, from the middle of held-out images; empty without any.
    """
    sources: list[PairSource] = []
    if config.tasks:
        _, held_out = _clean_images(config, channels)
        if held_out is not None:
            held = config.validation is not None
            sources += [_synthetic(held_out, config, name, declared, held) for name in config.tasks]
    for place, part in enumerate(config.validation_pairs):
        sources.append(_paired(part, f"data.validation_pairs.{place}", channels, declared))
    return [
        source.centre(index, config.validation_size, generator_of(seed, "validation", source.task, index))
        for source in sources
        for index in range(min(config.validation_count, len(source)))
    ]


class Repeated(Dataset[Any]):
    """A finite data set as an endless stream.

    Each pass over the data has an order of its own.
    """

    def __init__(self, data: Dataset[Any], count: int, seed: int) -> None:
        if count < 1:
            raise ValueError("the data set is empty")
        self.data, self.count, self.seed = data, count, seed
        self._pass, self._order = -1, torch.empty(0)

    def __getitem__(self, index: int) -> Any:
        """Sample number `index` of the run: a pure function of the seed and the index."""
        number, place = divmod(index, self.count)
        if number != self._pass:
            self._order = torch.randperm(self.count, generator=generator_of(self.seed, "order", number))
            self._pass = number
        return self.data[int(self._order[place])]


def endless(data: Dataset[Any], seed: int) -> Dataset[Any]:
    """The data as an endless stream.

    A data set without a length is taken for one already.
    """
    return Repeated(data, len(data), seed) if isinstance(data, Sized) else data


def batches(data: Dataset[Any], indices: BatchIndices, workers: int, pinned: bool = False) -> Iterator[Any]:
    """Batches of samples.

    A batch of pairs holds clean and degraded (B, C, H, W) in [0, 1] and task, a list of B names.

    Args:
        data: samples by number.
        indices: the numbers of each batch.
        workers: processes that prepare samples.
        pinned: put batches where a GPU can fetch them while the loop goes on.
    """
    loader: DataLoader[Any] = DataLoader(
        data,
        batch_sampler=indices,
        num_workers=workers,
        # Forked workers share the decoded images with this process.
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=_leave_signals_to_parent,
        prefetch_factor=4 if workers else None,
        pin_memory=pinned,
    )
    yield from loader


class Awaited:
    """Batches, and the time that was spent on waiting for them.

    Args:
        batches: of `batches`.
    """

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        self.seconds = 0.0

    def __next__(self) -> Any:
        began = time.monotonic()
        found = next(self._batches)
        self.seconds += time.monotonic() - began
        return found


def holdout_split(count: int, holdout: int) -> tuple[list[int], list[int]]:
    """Split `count` indices into those to train on and `holdout` evenly spaced ones."""
    kept_out = [(2 * place + 1) * count // (2 * holdout) for place in range(holdout)]
    return sorted(set(range(count)) - set(kept_out)), kept_out


def _clean_images(config: DataConfig, channels: int) -> tuple[ImageFolder, ImageFolder | None]:
    """Images to train on and those to validate on."""
    assert config.clean is not None  # checked by DataConfig
    images = _image_folder(config.clean, "data.clean", channels)
    if config.validation is not None:
        return images, _image_folder(config.validation, "data.validation", channels)
    if config.holdout == 0:
        return images, None
    if config.holdout >= len(images):
        raise ConfigError(f"data.holdout: {config.holdout} of {len(images)} images leaves none to train on")
    train, held_out = holdout_split(len(images), config.holdout)
    return images.select(train), images.select(held_out)


def _image_folder(path: Path | list[Path], key: str, channels: int) -> ImageFolder:
    folders = [expand(one, key) for one in (path if isinstance(path, list) else [path])]
    try:
        return ImageFolder(
            folders[0], files=[file for folder in folders for file in image_files(folder)], channels=channels
        )
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None


def _paired_folder(part: PairedData, key: str, channels: int) -> PairedFolder:
    try:
        if part.layout is not None and part.root is not None:
            return open_layout(part.layout, expand(part.root, f"{key}.root"), channels)
        assert part.clean is not None  # checked by PairedData
        assert part.degraded is not None
        folders = expand(part.clean, f"{key}.clean"), expand(part.degraded, f"{key}.degraded")
        return PairedFolder(*folders, channels=channels)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None


def _warn_of_strangers(source: PairedSource, key: str) -> None:
    """Name pairs whose images show different scenes; one process looks for all."""
    found = unrelated(source)
    if found:
        named = "; ".join(f"{clean} and {degraded} ({value:.2f})" for clean, degraded, value in found[:NAMED])
        more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
        warnings.warn(
            f"{key}: {len(found)} of {len(looked_at(source))} pairs do not seem to belong together, by their correlation at the "
            f"best shift: {named}{more}; check their names, or say check_pairs: false",
            stacklevel=3,
        )


def _synthetic(
    images: ImageFolder, config: DataConfig, name: str, declared: Conditions, held: bool = False
) -> SyntheticSource:
    """The pairs of a task; `held` means images of the folder to validate on."""
    key = "data.validation_conditions" if held else "data.conditions"
    folders = config.validation_conditions if held else config.conditions
    known = degradations.parameters(name) if name in degradations.names() else {}
    told = [
        number for number, one in declared.items() if one.form == "number" and number in known and number not in folders
    ]
    left = {number: one for number, one in declared.items() if number not in told}
    files = _condition_files(folders, left, images.files, key)
    try:
        params = config.tasks[name].params
        return SyntheticSource(images, name, params, config.margin, config.quantise, files, told)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"data.tasks.{name}: {error}") from None


def _paired(part: PairedData, key: str, channels: int, declared: Conditions, memory: float = 0.0) -> PairedSource:
    folder = _paired_folder(part, key, channels)
    files = _condition_files(part.conditions, declared, [degraded for _, degraded in folder.pairs], f"{key}.conditions")
    return PairedSource(folder, part.task, memory, files)


def _condition_files(
    folders: Mapping[str, Path], declared: Conditions, pictures: Sequence[Path], key: str
) -> ConditionFiles:
    """The files of the conditions that are declared; ConfigError where a folder is missing, or none wants it."""
    for name in folders:
        if name not in declared:
            raise ConfigError(f"{key}.{name}: the network's conditions are {listed(declared)}")
    for name, one in declared.items():
        if name not in folders:
            raise ConfigError(f"{key}.{name} is missing: the network needs this condition, {one}; give a folder")
    try:
        return ConditionFiles(
            {name: expand(path, f"{key}.{name}") for name, path in folders.items()}, declared, pictures
        )
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None


def _leave_signals_to_parent(worker: int) -> None:
    """Leave signals that ask for a last checkpoint, and reach workers too, to the training process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def tasks_of(config: DataConfig) -> Sequence[str]:
    """The degradations a run trains on, each once."""
    return list(dict.fromkeys([*config.tasks, *(part.task for part in config.pairs)]))
