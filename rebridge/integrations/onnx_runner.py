"""A restorer of exported models that needs numpy and onnxruntime alone.

    restore = OnnxRestorer("exported")           # a folder of `rebridge export NAME --format onnx -o exported`
    restored = restore(image, steps=5, seed=0)   # an array in, an array out

`rebridge export` copies this file into the folder as run.py, which runs by itself: `python exported/run.py photo.png -o out.png`
(.npy files need nothing more, other formats need Pillow). sampling.json holds a sampler's run as a list of linear operations:

    noise      a standard normal image
    modulate   (a mixture of images) times a noise, the noise of RDBM
    denoise    the network's clean estimate of a mixture, at a time
    mix        a mixture of images: the state after a step

Noise comes from the generator that PyTorch has on the CPU, so that a seed gives the picture that `rebridge restore` gives.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

SAMPLING_FILE = "sampling.json"
DENOISER_FILE = "denoiser.onnx"
INT8_FILE = "denoiser.int8.onnx"
PREDICTOR_FILE = "predictor.onnx"
ALIGN = 16
"""Windows begin at multiples of this."""
_BLOCK = 16
_HALVES = 8

Array = Any
"""A numpy array of float32."""


class TorchNoise:
    """Standard normal numbers as PyTorch's generator draws them on the CPU.

    A Mersenne twister and the Box-Muller transform, sixteen numbers at a time.

    Args:
        seed: of `Restorer`, from 0 up.
        sample: which of several samples of the same image is drawn.

    Raises:
        ValueError: a negative seed.
    """

    def __init__(self, seed: int, sample: int = 0) -> None:
        if seed < 0:
            raise ValueError(f"seed must be an integer from 0 up, got {seed!r}")
        mixed = int(np.random.SeedSequence([seed, sample]).generate_state(1, np.uint64)[0] >> np.uint64(1))
        begun: Any = np.random.RandomState(mixed & 0xFFFFFFFF).get_state(legacy=True)
        _, key, position, *_ = begun
        self._bits = np.random.MT19937()
        self._bits.state = {"bit_generator": "MT19937", "state": {"key": key, "pos": position}}
        self._kept: float | None = None

    def __call__(self, shape: Sequence[int]) -> Array:
        """Draw float32 numbers of a shape."""
        count = int(np.prod(shape))
        if count < _BLOCK:
            return np.array([self._one() for _ in range(count)], np.float32).reshape(shape)
        drawn = self._uniform(count)
        whole = count // _BLOCK * _BLOCK
        drawn[:whole] = _normal(drawn[:whole])
        if whole < count:  # the last sixteen numbers are drawn afresh
            drawn[count - _BLOCK :] = _normal(self._uniform(_BLOCK))
        return drawn.reshape(shape)

    def _uniform(self, count: int) -> Array:
        words = self._bits.random_raw(count)
        return ((words & 0xFFFFFF).astype(np.float32) * np.float32(2**-24)).astype(np.float32)

    def _one(self) -> float:
        """One number of a small tensor, in double precision; every second one is kept from the first."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            return kept
        first, second = (self._double() for _ in range(2))
        radius, angle = np.sqrt(-2 * np.log1p(-second)), 2 * np.pi * first
        self._kept = float(radius * np.sin(angle))
        return float(radius * np.cos(angle))

    def _double(self) -> float:
        high, low = (int(word) for word in self._bits.random_raw(2))
        return ((high << 32 | low) & (2**53 - 1)) * 2.0**-53


class OnnxRestorer:
    """A model that `rebridge export --format onnx` wrote: array in, array out.

    Args:
        folder: of the export.
        int8: use the quantised network.
        threads: of onnxruntime; by default as many as it likes.
        providers: of onnxruntime, such as CUDAExecutionProvider; by default the CPU.

    Raises:
        ValueError: a folder without an export, or without a quantised network; one sentence.
    """

    def __init__(
        self, folder: str | Path, int8: bool = False, threads: int | None = None, providers: Sequence[str] | None = None
    ) -> None:
        place = Path(folder)
        try:
            self.info: dict[str, Any] = json.loads((place / SAMPLING_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{place} holds no exported model: {error}") from None
        if int8 and not (place / INT8_FILE).is_file():
            raise ValueError(
                f"{place} has no int8 network: {self.info.get('int8', {}).get('note', 'none was written')}"
            )
        self._denoiser = _session(place / (INT8_FILE if int8 else DENOISER_FILE), threads, providers)
        has_predictor = bool(self.info.get("predictor"))
        self._predictor = _session(place / PREDICTOR_FILE, threads, providers) if has_predictor else None

    @property
    def steps(self) -> list[int]:
        """Numbers of steps that can be chosen."""
        return sorted(int(steps) for steps in self.info["programs"])

    @property
    def conditions(self) -> dict[str, dict[str, Any]]:
        """Extra conditions that the model needs: form and size by name."""
        return dict(self.info.get("conditions", {}))

    def __call__(self, image: Array, *, steps: int | None = None, seed: int = 0, **conditions: Any) -> Array:
        """Restore one image or a batch of equal sizes.

        Args:
            image: (H, W), (H, W, C) or (B, H, W, C), uint8 or uint16, or float in [0, 1].
            steps: one of `steps`; by default what the model recommends.
            seed: of the noise; all images of a batch get their own from the same seed.
            conditions: what `conditions` names, for all images or one for each: a map as an image of their size, else arrays.

        Returns:
            An array of that shape and type.

        Raises:
            ValueError: another number of steps, an array that is no image of the model, or conditions that do not fit.
        """
        steps = int(self.info["steps"] if steps is None else steps)
        if str(steps) not in self.info["programs"]:
            raise ValueError(f"steps must be one of {', '.join(map(str, self.steps))}, got {steps}")
        images, top = _images(np.asarray(image), int(self.info["channels"]))
        low, high = (np.float32(end) for end in self.info["value_range"])
        grey = images.shape[1] == 1 and self.info["channels"] == 3
        y = low + (high - low) * (np.repeat(images, 3, 1) if grey else images)
        told = _told(self.conditions, conditions, len(y), (y.shape[2], y.shape[3]))
        program = self.info["programs"][str(steps)]
        alone = [{name: value[row : row + 1] for name, value in told.items()} for row in range(len(y))]
        states = np.concatenate([self._walk(one[None], program, seed, own) for one, own in zip(y, alone, strict=True)])
        found = np.clip((states - low) / (high - low), 0, 1)
        found = found.mean(1, keepdims=True) if grey else found
        shape, kind = np.asarray(image).shape, np.asarray(image).dtype
        back = found.transpose(0, 2, 3, 1).reshape(shape)
        return np.rint(back * top).astype(kind) if top else back.astype(kind)

    def denoise(self, x: Array, t: float, y: Array, **told: Array) -> Array:
        """Compute clean estimates of states x (B, C, H, W), given y and conditions."""
        return self._evaluate(self._denoiser, x, t, y, told)

    def _walk(self, y: Array, program: Sequence[dict[str, Any]], seed: int, told: dict[str, Array]) -> Array:
        """Run the operations; a result that no later one needs is dropped."""
        noise = TorchNoise(seed)
        if self._predictor is not None:
            y = self._evaluate(self._predictor, y, 1.0, y, {})
        known: dict[int, Array] = {0: y}
        for place, step in enumerate(program):
            if step["op"] == "noise":
                made = noise(y.shape[1:])[None]
            elif step["op"] == "modulate":
                made = _mixed(step["terms"], known, y) * known[step["noise"]]
            elif step["op"] == "denoise":
                made = self.denoise(_mixed(step["terms"], known, y), step["t"], y, **told)
            else:
                made = _mixed(step["terms"], known, y)
            known[place + 1] = made
            for name in step.get("done", ()):
                known.pop(name, None)
        return known[len(program)]

    def _evaluate(self, session: Any, x: Array, t: float, y: Array, told: dict[str, Array]) -> Array:
        """Evaluate a network, in windows where the model has some and the image is larger."""
        window = self.info.get("window")
        height, width = x.shape[-2:]
        if window is None or max(height, width) <= window:
            return _call(session, x, t, y, told)
        x, y = _extended(x), _extended(y)
        maps = {name: _extended(value) for name, value in told.items() if self.conditions[name]["form"] == "map"}
        result = np.zeros_like(x)
        for rows, row_weights in _parts(x.shape[-2], window):
            for columns, column_weights in _parts(x.shape[-1], window):
                part = {name: value[..., rows, columns] for name, value in maps.items()}
                found = _call(session, x[..., rows, columns], t, y[..., rows, columns], {**told, **part})
                result[..., rows, columns] += (row_weights[:, None] * column_weights).astype(np.float32) * found
        return result[..., :height, :width]


def _call(session: Any, x: Array, t: float, y: Array, told: dict[str, Array]) -> Array:
    times = np.full(len(x), t, np.float32)
    feed = {"x": np.ascontiguousarray(x, np.float32), "t": times, "y": np.ascontiguousarray(y, np.float32)}
    taken = {value.name for value in session.get_inputs()}  # a condition that the network does not use is no input
    feed.update((name, np.ascontiguousarray(value)) for name, value in told.items() if name in taken)
    return session.run(None, feed)[0]


def _told(
    declared: dict[str, dict[str, Any]], given: dict[str, Any], rows: int, size: tuple[int, int]
) -> dict[str, Array]:
    """Extra conditions as the network takes them, (rows, ...) each; ValueError for what does not fit."""
    for name in given:
        if name not in declared:
            raise ValueError(
                f"the model takes no condition {name!r}; its conditions are {', '.join(declared) or 'none'}"
            )
    found = {}
    for name, one in declared.items():
        if name not in given:
            raise ValueError(f"the model needs the condition {name!r}, a {one['form']} of size {one['size']}")
        value, wanted = np.asarray(given[name]), _shape(one, size)
        if one["form"] == "map":
            value, _ = _images(value, one["size"])
        elif value.ndim == len(wanted):
            value = value[None]
        if value.shape[1:] != wanted or len(value) not in (1, rows):
            raise ValueError(f"the condition {name!r} must have the shape {(rows, *wanted)}, got {value.shape}")
        if not np.isfinite(value).all():
            raise ValueError(f"the condition {name!r} must be finite")
        if one["form"] == "class" and ((value != np.rint(value)) | (value < 0) | (value >= one["size"])).any():
            raise ValueError(f"the condition {name!r} is a class from 0 to {one['size'] - 1}, got {value.tolist()}")
        kind = np.int64 if one["form"] == "class" else np.float32
        found[name] = np.broadcast_to(value, (rows, *wanted)).astype(kind)
    return found


def _shape(condition: dict[str, Any], size: tuple[int, int]) -> tuple[int, ...]:
    """The shape of one value of a condition, for pictures of a size."""
    sides = condition["size"]
    return {"map": (sides, *size), "kernel": (sides, sides), "vector": (sides,)}.get(condition["form"], ())


def _session(path: Path, threads: int | None, providers: Sequence[str] | None) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ValueError("exported models run with onnxruntime: pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, list(providers or ["CPUExecutionProvider"]))


def _normal(uniform: Array) -> Array:
    """Box-Muller: eight radii and eight angles in each block of sixteen."""
    blocks = uniform.reshape(-1, _BLOCK)
    radius = np.sqrt(np.float32(-2) * np.log(np.float32(1) - blocks[:, :_HALVES]))
    angle = np.float32(2 * np.pi) * blocks[:, _HALVES:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32).reshape(-1)


def _mixed(terms: Sequence[Sequence[float]], known: dict[int, Array], like: Array) -> Array:
    result = np.zeros_like(like)
    for factor, name in terms:
        result += np.float32(factor) * known[int(name)]
    return result


def _images(image: Array, channels: int) -> tuple[Array, int]:
    """Images (B, C, H, W) in [0, 1], and the largest whole number of their type, 0 for floating-point numbers."""
    batch = image[None, ..., None] if image.ndim == 2 else image[None] if image.ndim == 3 else image
    if batch.ndim != 4 or batch.shape[-1] not in {channels, 1} or 0 in batch.shape:
        raise ValueError(f"an image must be (H, W), (H, W, {channels}) or a batch of such, got shape {image.shape}")
    top = int(np.iinfo(image.dtype).max) if np.issubdtype(image.dtype, np.integer) else 0
    images = batch.transpose(0, 3, 1, 2).astype(np.float32)
    images = images / np.float32(top) if top else images
    if not np.isfinite(images).all() or images.min() < 0 or images.max() > 1:
        raise ValueError("images of floating-point numbers must lie in [0, 1]")
    return images, top


def _extended(image: Array) -> Array:
    """Mirror (B, C, H, W) to sides that are multiples of `ALIGN`, or repeat its last pixels where it is too short."""
    for axis in (3, 2):
        missing = -image.shape[axis] % ALIGN
        width = [(0, missing if place == axis else 0) for place in range(4)]
        image = np.pad(image, width, mode="reflect" if missing < image.shape[axis] else "edge")
    return image


def _parts(side: int, window: int) -> list[tuple[slice, Array]]:
    """Places of windows along an axis, with weights that sum to one, as `rebridge.denoisers.tiling.partition` has them.

    Half of a window overlaps; the outer quarter of the overlap does not count.
    """
    if side <= window:
        return [(slice(0, side), np.ones(side))]
    overlap = window // 2
    stride = (window - overlap) // ALIGN * ALIGN or window - overlap
    starts = [*range(0, side - window, stride), side - window]
    margin = overlap // 4
    distance = np.arange(window) + 0.5
    distance = np.minimum(distance, window - distance)
    ramp = np.clip((distance - margin) / max(overlap - 2 * margin, 1), 0, 1)
    weights = np.zeros((len(starts), side))
    for row, start in zip(weights, starts, strict=True):
        row[start : start + window] = ramp
    half = (window + 1) // 2
    weights[0, :half] = np.maximum(weights[0, :half], 1)
    weights[-1, side - half :] = np.maximum(weights[-1, side - half :], 1)
    weights /= weights.sum(0)
    places = [slice(start, start + window) for start in starts]
    return [(place, row[place]) for place, row in zip(places, weights, strict=True)]


def main(words: Sequence[str] | None = None) -> int:
    """Restore files from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Restore pictures with an exported model.")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="pictures, or .npy arrays (H, W, C)")
    parser.add_argument("-o", "--output", required=True, help="a folder, or for one picture a file name")
    parser.add_argument(
        "--model", default=str(Path(__file__).parent), help="folder of the export; by default this file's"
    )
    parser.add_argument("--steps", type=int, help="steps of the sampler; by default what the model recommends")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same result")
    parser.add_argument("--int8", action="store_true", help="use the quantised network")
    extra = "NAME=VALUE, an extra condition: a number, a file, or a folder with a file of each picture's name"
    parser.add_argument("--condition", action="append", default=[], metavar="NAME=VALUE", help=extra)
    given = parser.parse_args(words)
    try:
        restore = OnnxRestorer(given.model, given.int8)
        for place in map(Path, given.inputs):
            output = Path(given.output)
            is_file = len(given.inputs) == 1 and output.suffix != "" and not output.is_dir()
            target = output if is_file else output / place.name
            target.parent.mkdir(parents=True, exist_ok=True)
            pairs = dict(text.split("=", 1) if "=" in text else (text, "") for text in given.condition)
            told = {name: _condition(restore, name, value, place) for name, value in pairs.items()}
            _write(target, restore(_read(place), steps=given.steps, seed=given.seed, **told))
            print(f"{place}: wrote {target}")
    except (ValueError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


def _condition(restore: OnnxRestorer, name: str, text: str, picture: Path) -> Any:
    """One condition of a picture: a number, or what its file holds."""
    one = restore.conditions.get(name, {"form": "number", "size": 1})
    try:
        return float(text)
    except ValueError:
        path = Path(text)
    if path.is_dir():
        path = next((file for file in sorted(path.iterdir()) if file.stem == picture.stem), path / picture.stem)
    if path.suffix == ".txt":
        value = np.array([float(word) for word in path.read_text(encoding="utf-8").replace(",", " ").split()])
    elif path.suffix == ".npy" or (one["form"] == "map" and one["size"] > 1):
        value = _read(path)
    else:
        value = np.asarray(_pillow().open(path).convert("L"))
        value = value if one["form"] == "map" else value / 255
    wanted = _shape(one, value.shape[:2])
    return value.reshape(wanted) if one["form"] != "map" and value.size == np.prod(wanted) else value


def _read(path: Path) -> Array:
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    with _pillow().open(path) as picture:
        return np.asarray(picture if picture.mode in ("L", "RGB") else picture.convert("RGB"))


def _write(path: Path, image: Array) -> None:
    if path.exists():
        raise ValueError(f"{path}: exists already and is not overwritten")
    if path.suffix == ".npy":
        np.save(path, image)
    else:
        _pillow().fromarray(image).save(path)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise ValueError("pictures are read by Pillow (pip install pillow); .npy arrays need nothing more") from None
    return Image


if __name__ == "__main__":
    sys.exit(main())
