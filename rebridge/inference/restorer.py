"""Restore images with a trained model: the one call that most users need."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rebridge import samplers
from rebridge.bridges import Bridge
from rebridge.denoisers import Denoiser, Estimate, as_estimate
from rebridge.hub import Model, load_model
from rebridge.inference.conversion import Batch, to_batch
from rebridge.inference.noise import ImageNoise, mixed
from rebridge.inference.tiling import SMALLEST_TILE, TiledDenoiser
from rebridge.samplers import Sampler

AUTO_TILE_PIXELS = 1024 * 1024
AUTO_TILE = 768

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}

SamplerChoice = str | Mapping[str, Any] | Sampler | None
Seed = int | Sequence[int]


@dataclass(frozen=True)
class Samples:
    """Several restorations of one image. mean and each of `all` are of the type that was passed in.

    std: float32 (B, C, H, W) in units of [0, 1], how far the samples differ at each pixel: large where the model
    guesses.
    """

    mean: Any
    std: Tensor
    all: list[Any]


class Restorer:
    """A denoiser, its bridge and its sampler behind one call: image in, restored image of the same kind out.

        restore = Restorer.from_pretrained("rdbm-tiny")
        image = restore(image, steps=10, seed=0)

    denoiser: any denoiser for `bridge`, on `device`. sampler: {"name": ..., **parameters}. channels: of the images it
    takes; grey images go in as three equal channels and come out as their mean. predictor: a denoiser whose answer at t = 1
    the bridge starts from instead of y, once per image. window: size up to which a model is at home; larger images are
    taken in tiles of that size.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        bridge: Bridge,
        sampler: Mapping[str, Any],
        device: str | torch.device = "cpu",
        channels: int = 3,
        model: Model | None = None,
        predictor: Denoiser | None = None,
        window: int | None = None,
    ) -> None:
        self.denoiser = denoiser
        self.bridge = bridge
        self.sampler_config = dict(sampler)
        self.device = torch.device(device)
        self.channels = channels
        self.model = model
        self.predictor = predictor
        self.window = window

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        compile: bool = False,
        revision: str | None = None,
    ) -> Restorer:
        """A restorer for a packaged model, a model folder or a Hugging Face id.

        device: by default a CUDA GPU where there is one, else the CPU. dtype: float32, or bfloat16 or float16 to run
        the network in autocast (two to three times faster on CPUs with bf16, relative error about 1.5 % per call); the
        state of the process stays in float32. compile: torch.compile the network, 20-60 s once per image size.
        Raises ModelError for a model that cannot be loaded, ValueError for a device or dtype that there is not.
        """
        place = device_of(device)
        precision = dtype_of(dtype)
        model = load_model(name, place, revision)
        network = model.denoiser.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        channels, window = int(getattr(network, "channels", 3)), getattr(network, "window", None)
        predictor: Denoiser | None = model.predictor
        if model.predictor is not None:
            model.predictor.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if compile:
            model.denoiser.network = torch.compile(network)  # type: ignore[assignment]
        denoiser: Denoiser = model.denoiser
        if precision != torch.float32:
            denoiser = Autocast(denoiser, place.type, precision)
            predictor = Autocast(predictor, place.type, precision) if predictor is not None else None
        return cls(denoiser, model.bridge, model.sampler_config, place, channels, model, predictor, window)

    def __call__(
        self,
        image: Any,
        *,
        steps: int | None = None,
        seed: Seed = 0,
        tile: int | None = None,
        overlap: int | None = None,
        samples: int = 1,
        sampler: SamplerChoice = None,
        callback: Callable[[int, float, Tensor, Tensor], None] | None = None,
    ) -> Any:
        """Restore an image or a batch of them; returns the same type, dtype and size.

        image: PIL image, numpy array (H, W[, C]) or (B, H, W, C), tensor ([B, ]C, H, W), or rebridge.images.Image;
        float values in [0, 1]. Alpha is kept as it is.
        steps: of the sampler, by default what the model recommends. sampler: a name, {"name": ..., **parameters} or a
        Sampler, by default the model's own. seed: the result is a function of image, options and seed, the same alone
        and in any batch; a list gives each image of a batch its own.
        tile, overlap: side of the tiles that the network sees and pixels they share. By default images of more than
        1024 x 1024 pixels are taken in tiles of at most 768, and those larger than the model's window, if it has one, in
        tiles of that size; tile=0 never tiles. If memory runs out, tiles are halved.
        samples: number of restorations with different noise to average.
        callback: called after each step with (step, t, x_t, x0_hat) in the bridge's value range; raise from it to
        cancel.
        """
        return self._run(image, steps, seed, tile, overlap, samples, sampler, callback, keep=False).mean

    def sample(
        self,
        image: Any,
        samples: int = 4,
        *,
        steps: int | None = None,
        seed: Seed = 0,
        tile: int | None = None,
        overlap: int | None = None,
        sampler: SamplerChoice = None,
        callback: Callable[[int, float, Tensor, Tensor], None] | None = None,
    ) -> Samples:
        """Restore an image several times with different noise: the mean, the standard deviation, and all samples.

        Options as in `__call__`; the first sample is what a call with samples=1 returns. With a deterministic sampler
        and start they are all the same: use sampler={"name": "dbim", "eta": 1.0}.
        """
        return self._run(image, steps, seed, tile, overlap, samples, sampler, callback, keep=True)

    def _run(
        self,
        image: Any,
        steps: int | None,
        seed: Seed,
        tile: int | None,
        overlap: int | None,
        samples: int,
        sampler: SamplerChoice,
        callback: Callable[[int, float, Tensor, Tensor], None] | None,
        keep: bool,
    ) -> Samples:
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        batch = to_batch(image)
        walk = self.sampler(sampler, steps)
        y = self._enter(batch.images)
        if self.predictor is not None:
            y = self._predicted(self.predictor, y, tile, overlap)
        seeds = _seeds(seed, len(y))
        denoiser = self._denoiser_for(batch.images, y, tile, overlap)
        mean, squares, kept = torch.zeros_like(batch.images), torch.zeros_like(batch.images), []
        for sample in range(samples):
            restored = walk(self.bridge, denoiser, y, noise=ImageNoise(seeds, sample), callback=callback)
            result = self._leave(restored, batch)
            # Welford's update: sums of squares would cancel where the samples hardly differ.
            change = result - mean
            mean = mean + change / (sample + 1)
            squares = squares + change * (result - mean)
            if keep:
                kept.append(batch.back(result))
        return Samples(batch.back(mean), (squares / max(samples - 1, 1)).sqrt(), kept)

    def prediction(self, image: Any, *, tile: int | None = None, overlap: int | None = None) -> Any:
        """The predictor's restoration alone, without the bridge; images, tile and overlap as in `__call__`.

        Raises ValueError where the model has no predictor.
        """
        if self.predictor is None:
            raise ValueError("the model has no predictor: its bridge starts from the degraded image itself")
        batch = to_batch(image)
        predicted = self._predicted(self.predictor, self._enter(batch.images), tile, overlap)
        return batch.back(self._leave(predicted, batch))

    def wrapped(self, wrap: Callable[[Denoiser], Denoiser]) -> Restorer:
        """A restorer like this one whose denoiser is `wrap(denoiser)`, for instance one that counts its calls."""
        other = copy.copy(self)
        other.denoiser = wrap(self.denoiser)
        return other

    def for_task(self, task: str) -> Restorer:
        """The restorer for images of a degradation: this one, unless it has settings by task."""
        return self

    def sampler(self, choice: SamplerChoice = None, steps: int | None = None) -> Sampler:
        """The sampler for a choice as in `__call__`; ValueError for an unknown name or an impossible parameter."""
        if isinstance(choice, Sampler):
            if steps is not None and steps != choice.steps:
                raise ValueError(f"steps={steps} contradicts the sampler, which has {choice.steps}")
            return choice
        config = dict(self.sampler_config)
        if choice is not None:
            chosen = {"name": choice} if isinstance(choice, str) else dict(choice)
            if "name" not in chosen:
                raise ValueError("a sampler given as a dictionary needs a name")
            # Another sampler has other parameters; the number of steps is the one they share.
            config = config if chosen["name"] == config["name"] else {"steps": config.get("steps", 10)}
            config |= chosen
        if steps is not None:
            config["steps"] = steps
        return self._create(**config)

    def _create(self, name: str, **params: Any) -> Sampler:
        return samplers.create(name, **params)

    def _enter(self, images: Tensor) -> Tensor:
        return self._encode(self._coloured(images).to(self.device))

    def _coloured(self, images: Tensor) -> Tensor:
        """Images with as many channels as the model takes."""
        if images.shape[1] == 1 and self.channels == 3:
            return images.expand(-1, 3, -1, -1)
        if images.shape[1] != self.channels:
            raise ValueError(f"the model restores images of {self.channels} channels, got {images.shape[1]}")
        return images

    def _encode(self, images: Tensor) -> Tensor:
        """Images in [0, 1] in the space that the bridge lives in."""
        low, high = self.bridge.value_range
        return (low + (high - low) * images).contiguous(memory_format=torch.channels_last)

    def _decode(self, restored: Tensor, images: Tensor) -> Tensor:
        """Restored states back as images in about [0, 1]; `images` are the degraded ones, for their size and details."""
        low, high = self.bridge.value_range
        return (restored.float() - low) / (high - low)

    def _leave(self, restored: Tensor, batch: Batch) -> Tensor:
        images = self._decode(restored, batch.images).clamp(0, 1)
        if batch.images.shape[1] == 1 and images.shape[1] == 3:
            images = images.mean(dim=1, keepdim=True)
        if not torch.isfinite(images).all():
            raise ValueError("the restored image contains NaN: the sampler diverged; use more steps or another sampler")
        return images.to(batch.images.device)

    def _denoiser_for(self, images: Tensor, y: Tensor, tile: int | None, overlap: int | None) -> Denoiser:
        """The denoiser for these degraded images (y in the space of the bridge), in tiles where they are large."""
        return self._tiled(self.denoiser, tile, overlap, y)

    @torch.no_grad()
    def _predicted(self, predictor: Denoiser, y: Tensor, tile: int | None, overlap: int | None) -> Tensor:
        """g(y), which the bridge starts from instead of y."""
        return as_estimate(self._tiled(predictor, tile, overlap, y)(y, y.new_ones(len(y)), y)).x0

    def _tiled(self, denoiser: Denoiser, tile: int | None, overlap: int | None, y: Tensor) -> TiledDenoiser:
        if tile is not None and tile != 0 and tile < SMALLEST_TILE:
            raise ValueError(f"tile must be at least {SMALLEST_TILE} pixels, or 0 for no tiling, got {tile}")
        if tile is None and self.window is not None and max(y.shape[-2:]) > self.window:
            # At a tile's edge half of what the network looks at is missing: only the middle of each is used.
            tile, overlap = self.window, self.window // 2 if overlap is None else overlap
        if tile is None and y.shape[-2] * y.shape[-1] > AUTO_TILE_PIXELS:
            tile = AUTO_TILE
        return TiledDenoiser(denoiser, tile or None, overlap)


class Autocast:
    """`denoiser` with its network in a lower precision; what comes out has the precision of the state."""

    def __init__(self, denoiser: Denoiser, device_type: str, dtype: torch.dtype) -> None:
        self.denoiser = denoiser
        self.device_type = device_type
        self.dtype = dtype

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor | Estimate:
        with torch.autocast(self.device_type, self.dtype):
            result = self.denoiser(x_t, t, y)
        if isinstance(result, Estimate):
            return Estimate(result.x0.to(x_t.dtype), None if result.noise is None else result.noise.to(x_t.dtype))
        return result.to(x_t.dtype)


def _seeds(seed: Seed, batch: int) -> list[int]:
    seeds = [seed] * batch if isinstance(seed, int) else list(seed)
    if len(seeds) != batch:
        raise ValueError(f"{len(seeds)} seeds for {batch} images: give one seed, or one per image")
    for value in seeds:
        mixed(value, 0)
    return seeds


def device_of(device: str | torch.device | None) -> torch.device:
    """The device of that name, for None a GPU where there is one; ValueError for one that there is not."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.zeros(1, device=place)
    except (RuntimeError, AssertionError, ValueError, NotImplementedError):
        raise ValueError(f"there is no device '{device}' here; use cpu" + _gpus()) from None
    return place


def _gpus() -> str:
    return f" or one of cuda:0 to cuda:{torch.cuda.device_count() - 1}" if torch.cuda.is_available() else ""


def dtype_of(dtype: str | torch.dtype | None) -> torch.dtype:
    """The precision of that name, float32 for None; ValueError for one that networks are not run in."""
    name = str(dtype or "float32").removeprefix("torch.")
    name = _SHORT.get(name, name)
    if name not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got '{dtype}'")
    return DTYPES[name]
