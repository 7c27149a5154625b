"""What a million pictures cost: decoding, network, encoding and storage, measured on one core, and added up.

    python benchmarks/scale.py --json docs/tables/scale.json
    python benchmarks/scale.py --model rdbm-tiny --megapixels 12 --link 1.25

A picture takes a worker t = decode + network + encode seconds of a core, so N workers take 10^6 t / N seconds for a million,
until the link that all of them share is full: 10^6 (b_in + b_out) / W seconds, with sizes b of the files and W bytes a second.
The longer of the two bounds the whole; their equality gives the number of workers that fill the link.

With a GPU the network is measured on it too (pictures of the same size, one at a time); --gpu docs/tables/gpu.json takes the
figures of one that benchmarks/gpu.py measured elsewhere (16 at a time). Decoding and encoding stay on cores. The floor is a dense
convolution of 64 channels in float32, measured in the same run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from floor import machine, median_seconds, sentence
from torch import Tensor
from torch.nn.functional import interpolate

from rebridge import Restorer, degradations
from rebridge.images import Image, read_image, write_image
from rebridge.models import TrainedModel, load_model

PHOTOS = Path(__file__).parent.parent / "examples" / "images"
MILLION = 10**6
FORMATS = ("jpg", "png", "webp")
REPEATS = 3


@dataclass(frozen=True)
class Format:
    """Cost of a file format, for a megapixel on one core.

    Attributes:
        name: its suffix.
        decode, encode: seconds.
        megabytes: of the file.
    """

    name: str
    decode: float
    encode: float
    megabytes: float


@dataclass(frozen=True)
class Row:
    """Cost of a million pictures, read and written as files of one format.

    Attributes:
        model, device, format: what was measured.
        decode, network, encode: seconds of one picture; the network's on the device.
        core_hours: of a million pictures.
        device_hours: of the GPU, or None where the network runs on the core.
        terabytes: of inputs and results.
        workers: that fill the link.
    """

    model: str
    device: str
    format: str
    decode: float
    network: float
    encode: float
    core_hours: float
    device_hours: float | None
    terabytes: float
    workers: float

    @property
    def bound(self) -> str:
        """The longest part of a picture's time."""
        parts = {"decode": self.decode, "network": self.network, "encode": self.encode}
        return max(parts, key=lambda name: parts[name])


def photographs(side: int) -> list[Tensor]:
    """Photographs of examples/images, (3, side, side), with the noise that a camera leaves."""
    found = []
    for seed, path in enumerate(sorted(PHOTOS.glob("*.jpg"))):
        pixels = read_image(path).pixels[None, :3]
        pixels = interpolate(pixels, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        noisy = degradations.create("noise", sigma=5 / 255)
        found.append(noisy(pixels, generator=torch.Generator().manual_seed(seed))[0])
    return found


def seconds_of(call: Callable[[], object]) -> float:
    """Time a call on one thread, by the time of the processor."""
    return median_seconds(call, REPEATS)


def of_format(suffix: str, pictures: Sequence[Tensor]) -> Format:
    """Measure reading and writing of pictures in a format."""
    megapixels = pictures[0].shape[-1] * pictures[0].shape[-2] / 1e6
    decode, encode, size = [], [], []
    with tempfile.TemporaryDirectory() as place:
        for number, pixels in enumerate(pictures):
            path = Path(place) / f"{number}.{suffix}"
            encode.append(seconds_of(partial(write_image, path, Image(pixels), overwrite=True)))
            decode.append(seconds_of(partial(read_image, path)))
            size.append(path.stat().st_size / 1e6)
    parts = (statistics.fmean(values) / megapixels for values in (decode, encode, size))
    return Format(suffix, *parts)


def network_seconds(name: str, pixels: Tensor, device: str) -> float:
    """Seconds of a model for a megapixel on one core or a GPU; it is told the task where it can be told."""
    model = load_model(name, device=device)
    assert isinstance(model, TrainedModel)
    with contextlib.suppress(ValueError):  # of a model that cannot be told
        model = model.treating(["noise"])
    restore, image = Restorer(model), pixels[None].to(device)

    def call() -> None:
        restore(image)
        if device != "cpu":
            torch.cuda.synchronize()

    megapixels = pixels.shape[-1] * pixels.shape[-2] / 1e6
    if device == "cpu":
        return seconds_of(call) / megapixels
    call()
    began = time.perf_counter()
    for _ in range(REPEATS):
        call()
    return (time.perf_counter() - began) / REPEATS / megapixels


def elsewhere(path: Path, model: str) -> tuple[str, float]:
    """Name a GPU that benchmarks/gpu.py measured, and its seconds of a model for a megapixel, 16 pictures at a time.

    A model that can be told counts as it was told.
    """
    found = json.loads(path.read_text())
    rows = [row for row in found["models"]["rows"] if row["model"] == model and row["auto"]]
    told = next((row for row in rows if row["kinds"]), rows[0])
    return found["machine"]["device"], told["batch"]["seconds a Mpixel"]


def added_up(model: str, device: str, network: float, files: Format, megapixels: float, link: float) -> Row:
    """Add up a million pictures.

    Args:
        model, device: what the network ran as.
        network: seconds for a megapixel.
        files: the format of inputs and results.
        megapixels: of a picture.
        link: gigabytes a second that all workers share.
    """
    decode, inner, encode = (megapixels * value for value in (files.decode, network, files.encode))
    alone = device == "cpu"
    bytes_each = 2 * files.megabytes * megapixels * 1e6
    each = decode + inner + encode  # a worker does one thing after the other
    return Row(
        model=model,
        device=device,
        format=files.name,
        decode=decode,
        network=inner,
        encode=encode,
        core_hours=MILLION * (each if alone else decode + encode) / 3600,
        device_hours=None if alone else MILLION * inner / 3600,
        terabytes=MILLION * bytes_each / 1e12,
        workers=each * link * 1e9 / bytes_each,
    )


def main() -> None:
    """Measure, add up, print, and write what is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="packaged model; repeat it (default: rdbm-tiny, rdbm-small)")
    parser.add_argument("--megapixels", type=float, default=2.0, help="of a picture (default: %(default)s)")
    parser.add_argument("--link", type=float, default=1.25, help="GB/s that all workers share (default: %(default)s)")
    parser.add_argument("--side", type=int, default=512, help="of what is measured (default: %(default)s)")
    parser.add_argument("--gpu", type=Path, help="figures of a GPU elsewhere, by benchmarks/gpu.py")
    parser.add_argument("--json", type=Path, help="file to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = machine(bfloat16=False)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    any_gpu = len(devices) > 1 or options.gpu is not None
    print(sentence(found) + ("" if any_gpu else "; no GPU is at hand, so its rows are missing"))
    pictures = photographs(options.side)
    files = [of_format(suffix, pictures[:2]) for suffix in FORMATS]
    for one in files:
        print(
            f"{one.name}: decode {one.decode:.3f}, encode {one.encode:.3f} s/megapixel, {one.megabytes:.2f} MB/megapixel"
        )
    rows = []
    for name in options.model or ("rdbm-tiny", "rdbm-small"):
        for device in devices:
            network = network_seconds(name, pictures[0], device)
            print(f"{name} on {device}: {network:.3f} s/megapixel", flush=True)
            rows += [added_up(name, device, network, one, options.megapixels, options.link) for one in files]
        if options.gpu is not None:
            device, network = elsewhere(options.gpu, name)
            rows += [added_up(name, device, network, one, options.megapixels, options.link) for one in files]
    for row in rows:
        gpu = "" if row.device_hours is None else f" and {row.device_hours:,.0f} GPU hours"
        print(
            f"{row.model} on {row.device}, {row.format}: {row.core_hours:,.0f} core hours{gpu} and {row.terabytes:.1f} TB for a "
            f"million pictures; bound by {row.bound}; {row.workers:,.0f} workers fill {options.link} GB/s"
        )
    if options.json is not None:
        about = {
            "machine": sentence(found),
            "megapixels": options.megapixels,
            "link": options.link,
            "side": options.side,
        }
        about |= {"gpu": any_gpu}
        record = {**about, "formats": [asdict(one) for one in files]}
        record["rows"] = [{**asdict(row), "bound": row.bound} for row in rows]
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
