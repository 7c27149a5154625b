"""The one journey of every restoration: enter the space, sample, leave it.

Samples, seeds, tiles and NaN checks are here, once.

What walks is either a sampler along a bridge (`walk_bridge`) or a zero-shot method for a known operator (`walk_method`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from numbers import Real

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.catalogue import shortened, whole_number
from rebridge.denoisers import Counted, Denoiser, Progress, TiledDenoiser, TransitionDenoiser, as_estimate
from rebridge.denoisers.tiling import DEFAULT_OVERLAP, SMALLEST_TILE, Divisible
from rebridge.inverse.measurement import Measurement
from rebridge.inverse.methods.base import Method, check_fit
from rebridge.inverse.problem import Problem, in_range
from rebridge.irbridge.details import keep_details
from rebridge.irbridge.finish import Finish, match_colours, scale_to
from rebridge.models import Model
from rebridge.networks.conditions import NONE, Values, cut
from rebridge.samplers import ImageNoise, Sampler
from rebridge.samplers.base import Callback, Noise

AUTO_TILE_PIXELS = 1024 * 1024
AUTO_TILE = 1408
MOST_SAMPLES = 10_000

Wrap = Callable[[Denoiser], Denoiser]


@dataclass(frozen=True)
class Tiles:
    """The size of tiles, in image pixels.

    Attributes:
        side: of the tiles that the network sees; None for automatic, 0 for none.
        overlap: pixels that neighbours share, by default 64 or a quarter of smaller tiles.
    """

    side: int | None = None
    overlap: int | None = None

    def __post_init__(self) -> None:
        for key, value in (("tile", self.side), ("overlap", self.overlap)):
            if value is not None:
                whole_number(key, value)
        if self.side is not None and self.side != 0 and self.side < SMALLEST_TILE:
            raise ValueError(f"tile must be at least {SMALLEST_TILE} pixels, or 0 for no tiling, got {self.side}")

    def chosen(self, height: int, width: int, window: int | None) -> tuple[int | None, int | None]:
        """Choose side and overlap for images of some size; None for no tiles.

        window: the model's, see `ModelInfo`.
        """
        if window is not None and (self.side is not None or max(height, width) > window):
            # Such a network takes means of all that it sees, so that what it sees always has that size. At a tile's edge half
            # of what it looks at is missing: only the middle of each is used.
            return window, window // 2 if self.overlap is None else min(self.overlap, window // 2)
        if self.side is None and height * width > AUTO_TILE_PIXELS:
            return AUTO_TILE, self.overlap
        return self.side or None, self.overlap


@dataclass
class Gathered:
    """Samples as they come in: running mean and spread, and what is kept.

    Welford's update: sums of squares would cancel where the samples hardly differ.
    """

    keep: bool
    count: int = 0
    mean: Tensor = field(default_factory=lambda: torch.zeros(()))
    squares: Tensor = field(default_factory=lambda: torch.zeros(()))
    kept: list[Tensor] = field(default_factory=list)

    def add(self, result: Tensor) -> None:
        """Take in one more sample (B, C, H, W)."""
        self.count += 1
        if self.keep:
            self.kept.append(result)
        if self.count == 1:  # without further copies: large pictures are most often drawn once
            self.mean, self.squares = result, result.new_zeros(()).expand_as(result)
            return
        change = result - self.mean
        self.mean = self.mean + change / self.count
        self.squares = self.squares + change * (result - self.mean)

    @property
    def std(self) -> Tensor:
        """Standard deviation over the samples, 0 for a single one."""
        return self.squares if self.count == 1 else (self.squares / max(self.count - 1, 1)).sqrt()


def gather(draw: Callable[[ImageNoise], Tensor], seeds: Sequence[int], samples: int, keep: bool) -> Gathered:
    """Draw samples, each with noise that depends on seed and number alone.

    seeds: one per image.
    """
    check_samples(samples)
    found = Gathered(keep)
    for sample in range(samples):
        found.add(draw(ImageNoise(seeds, sample)))
    return found


def check_strength(strength: float, measured: bool = False) -> None:
    """Raise ValueError for an impossible strength.

    Args:
        strength: finite, at least 0.
        measured: whether a measurement is restored, which has no image to blend with.
    """
    if measured and strength != 1:
        raise ValueError("strength goes with degraded images; a measurement has no image to blend with")
    if not isinstance(strength, Real | Tensor):
        raise ValueError(f"strength must be a number, got {shortened(strength)}")
    if not 0 <= strength < math.inf:
        raise ValueError(f"strength must be at least 0, got {strength:g}: 0 changes nothing, 1 is what the model makes")


def check_samples(samples: int) -> None:
    """Raise ValueError unless there is at least one sample, and no absurd number."""
    if whole_number("samples", samples) < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if samples > MOST_SAMPLES:
        raise ValueError(f"samples must be at most {MOST_SAMPLES}, got {samples}")


def fitted(model: Model, bridge: Bridge, sampler: Sampler) -> Sampler:
    """Adapt a sampler to a model.

    Warns where one step can only return the image as it is.
    """
    if sampler.steps == 1 and model.blind_at_end and bridge == model.process:
        warnings.warn(
            f"one step returns the image as it is: at t = 1 the network of model '{model.info.name}' does not see the clean "
            "image; take two steps or more",
            stacklevel=4,
        )
    return sampler.for_model(model.process, model.info.earliest_time)


def coloured(images: Tensor, channels: int) -> Tensor:
    """Give images as many channels as a model takes; grey ones are repeated."""
    if images.shape[1] == 1 and channels == 3:
        return images.expand(-1, 3, -1, -1)
    if images.shape[1] != channels:
        raise ValueError(f"the model restores images of {channels} channels, got {images.shape[1]}")
    return images


def enter(model: Model, images: Tensor) -> Tensor:
    """Turn images (B, C, H, W) in [0, 1] into states in the model's space."""
    return model.space.encode(coloured(images, model.info.channels).to(model.device))


def leave(model: Model, states: Tensor, images: Tensor, finish: Finish | None = None, strength: float = 1.0) -> Tensor:
    """Turn states into restored images in [0, 1], alike to `images`.

    With a strength s, the result is y + s (x_hat - y), for y the degraded image and x_hat the restored one.

    Args:
        model: its space is left.
        states: (B, c, h, w).
        images: the degraded images, for their size, channels, device, colours and details.
        finish: what of the input is kept; by default nothing.
        strength: share of the change that is made, at least 0; more than 1 exaggerates it.

    Raises:
        ValueError: the states hold NaN or infinite values.
    """
    wanted = finish or Finish()
    seen = wanted.scaled(images)
    height, width = seen.shape[-2:]
    result = model.space.decode(states, (height, width)).float()
    known = coloured(seen, model.info.channels).to(result)
    if wanted.detail > 0:
        through = model.space.decode(model.space.encode(known), (height, width)).float()
        result = keep_details(result, known, through, wanted.detail)
    if wanted.colour is not None:
        result = match_colours(result, known, wanted.colour)
    result = scale_to(result.clamp_(0, 1), *images.shape[-2:])
    if images.shape[1] == 1 and result.shape[1] == 3:
        result = result.mean(dim=1, keepdim=True)
    result = finite(result).to(images.device)
    if strength != 1:
        result = images + strength * (result - images)
        result = result.clamp(0, 1) if strength > 1 else result
    return result


def finite(images: Tensor) -> Tensor:
    """Return the images; ValueError for NaN, which a diverged sampler leaves."""
    if not (images.amin().isfinite() and images.amax().isfinite()):  # without the copies that isfinite makes of all
        raise ValueError("the restored image contains NaN: the sampler diverged; use more steps or another sampler")
    return images


def tiled(
    model: Model,
    images: Tensor | None,
    size: tuple[int, int],
    tiles: Tiles,
    wrap: Wrap,
    told: Values = NONE,
) -> TiledDenoiser:
    """The model's denoiser for degraded images, in tiles where they are large.

    Args:
        model: what denoises.
        images: degraded images (B, C, H, W) in [0, 1] on the model's device (lazy ones where it works in pixels), or None
            for the unconditional model.
        size: height and width of the images in pixels.
        tiles: how they are cut.
        wrap: put around the denoiser, for instance to count its calls.
        told: extra conditions of the images by name.
    """
    side, overlap = tiles.chosen(*size, model.info.window)
    scale = model.space.scale
    if scale == 1:
        bound = model.given(images, **told)
        of_part = partial(_wrapped_part, bound, wrap) if isinstance(bound, Divisible) else None
        return TiledDenoiser(wrap(bound), side, overlap, of_tile=of_part, context=model.info.context)

    def of_tile(rows: slice, columns: slice) -> Denoiser:
        high, wide = (slice(part.start * scale, part.stop * scale) for part in (rows, columns))
        part = cut(model.info.conditions, told, high, wide, align=1)
        return wrap(model.given(None if images is None else images[..., high, wide], **part))

    whole = wrap(model.given(images, **told))
    if side is None:
        return TiledDenoiser(whole)
    overlap = min(DEFAULT_OVERLAP, side // 4) if overlap is None else overlap
    align = max(model.info.multiple // scale, 1)
    return TiledDenoiser(whole, side // scale, overlap // scale, align=align, of_tile=of_tile)


def _wrapped_part(bound: Divisible, wrap: Wrap, rows: slice, columns: slice) -> Denoiser:
    return wrap(bound.part(rows, columns))


def predicted(model: Model, y: Tensor, tiles: Tiles) -> Tensor:
    """Compute g(y), which the bridge starts from, or y without a predictor."""
    if model.predictor is None:
        return y
    height, width = y.shape[-2:]
    side, overlap = tiles.chosen(height, width, model.info.window)
    with torch.no_grad():
        denoiser = TiledDenoiser(model.predictor, side, overlap, context=model.info.context)
        return as_estimate(denoiser(y, y.new_ones(len(y)), y)).x0


def walk_bridge(
    model: Model,
    bridge: Bridge,
    sampler: Sampler,
    denoiser: Denoiser,
    y: Tensor,
    noise: Noise,
    callback: Callback | None,
) -> Tensor:
    """One walk from y (B, c, h, w) to restored states.

    Along another bridge than the model's own process, each state is carried into that process and back (IRBridge).
    """
    if sampler.walks_prior:
        return sampler(model.process, denoiser, y, noise=noise, callback=callback)
    if bridge != model.process and not sampler.evaluates_prior:
        denoiser = TransitionDenoiser(denoiser, model.process, bridge, model.info.earliest_time)
    return sampler(bridge, denoiser, y, noise=noise, callback=callback)


def draws_noise(model: Model, bridge: Bridge, sampler: Sampler) -> bool:
    """Test if the result of a sampler depends on the seed, by a run on one pixel."""
    drawn = False

    def noise(like: Tensor) -> Tensor:
        nonlocal drawn
        drawn = True
        return torch.zeros_like(like)

    y = torch.zeros(1, 1, 1, 1)
    walk_bridge(model, bridge, sampler, lambda x_t, t, y: y, y, noise, None)
    return drawn


def solve_measurement(
    model: Model,
    method: Method,
    measured: Measurement,
    seeds: Sequence[int],
    *,
    samples: int = 1,
    keep: bool = True,
    tiles: Tiles = Tiles(),
    wrap: Wrap = lambda denoiser: denoiser,
    callback: Callback | None = None,
    progress: Progress | None = None,
    told: Values = NONE,
) -> tuple[Gathered, int]:
    """Solve y = A x + sigma_y n by a zero-shot method around the model.

    With extra conditions, each measurement is solved by itself.

    Returns:
        The samples, in [0, 1], and the evaluations of the network for each image, all samples together.
    """
    low, high = model.process.value_range
    y = measured.y.detach().to(model.device)
    operator, y, sigma = in_range(measured.operator, y, measured.sigma_y, model.process.value_range)
    check_fit(method, operator, model.info.channels)
    rows, total = len(y), samples * method.calls

    def evaluations() -> int:
        return sum(one.rows for one in counted) // rows

    def report(_: Counted) -> None:
        if progress is not None:
            progress(min(evaluations(), total), total)

    _, height, width = operator.shape
    denoisers = [tiled(model, None, (height, width), tiles, wrap, own) for own in of_each(told, rows)]
    counted = [Counted(denoiser, report) for denoiser in denoisers]
    parts = y.split(1) if len(counted) > 1 else [y]
    problems = [
        Problem(model.process, one, operator, part, sigma, model.network)
        for one, part in zip(counted, parts, strict=True)
    ]

    def draw(noise: ImageNoise) -> Tensor:
        noises = noise.split() if len(problems) > 1 else [noise]
        solved = [method(problem, noise=own, callback=callback) for problem, own in zip(problems, noises, strict=True)]
        return ((finite(torch.cat(solved)) - low) / (high - low)).clamp(0, 1)

    return gather(draw, seeds, samples, keep), evaluations()


def of_each(told: Values, rows: int) -> list[dict[str, Tensor]]:
    """The extra conditions of each image; of all together where there are none."""
    if not told:
        return [{}]
    return [{name: value[row : row + 1] for name, value in told.items()} for row in range(rows)]


def step_counter(callback: Callback | None, progress: Progress | None, total: int) -> Callback | None:
    """Make a sampler's callback that also reports how many steps are done."""
    if progress is None:
        return callback
    done = 0

    def report(step: int, t: float, x_t: Tensor, x0_hat: Tensor) -> None:
        nonlocal done
        done += 1
        if callback is not None:
            callback(step, t, x_t, x0_hat)
        progress(min(done, total), total)

    return report
