"""torch.compile for the blocks of a network, where a batch repays it.

The blocks that a network repeats are compiled, each kind once, and not the network as a whole. That takes seconds instead of
minutes, for any height and width, and leaves alone what gains nothing, such as Fourier transforms. The code stays in the user's
cache folder. A batch repays what it takes to have the code if

    pixels * (seconds a pixel, plain - seconds a pixel, compiled) > seconds to load the code

with all three measured on this machine, once for a network, and remembered beside what `rebridge.models.speed` measures. They
are measured before a batch whose pixels take the plain network ten minutes or more; a smaller one has nothing to gain by it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rebridge.denoisers import Autocast, Denoiser, NetworkDenoiser, as_estimate
from rebridge.images.atomic import write_atomic
from rebridge.models.speed import CACHE_FORMAT, MOST_CHANGE, cache_folder, key_of, probes, seconds_taken
from rebridge.networks import Network

if TYPE_CHECKING:
    from rebridge.models.trained import TrainedModel

CODE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
"""Environment variable of torch that names the folder of compiled code; by default below the user's cache folder."""
FEWEST_PIXELS = 2**24
"""Below so many, all steps of all pictures together, nothing is considered."""
WORTH_MEASURING = 600.0
"""Seconds of the plain network from which a batch is worth the measurement."""
CLEARLY_FASTER = 0.95
"""Share of the plain network's time that the compiled one may take to be chosen."""
MOST_KINDS = 64
"""Of blocks that a network may have; torch's own limit is 8."""
LARGER = 4
"""Of the sides of the larger of two pictures that a network is compiled with."""
ROUNDS_TIMED = 8
"""Of both ways, of which the fastest counts."""


@dataclass(frozen=True)
class Compiled:
    """The gain and the cost of a compiled network.

    Attributes:
        plain: seconds a pixel, not compiled.
        compiled: seconds a pixel.
        loading: seconds until a new process has the code that is on disk.
        change: largest difference of a pixel, as a share of the range.
    """

    plain: float
    compiled: float
    loading: float
    change: float

    @property
    def faster(self) -> bool:
        """True if the compiled network is clearly faster, and the same."""
        return self.compiled < CLEARLY_FASTER * self.plain and self.change <= MOST_CHANGE

    def repays(self, pixels: float) -> bool:
        """Test if a batch gains more than it takes to load the code.

        Args:
            pixels: that the network sees, all steps of all pictures together.
        """
        return self.faster and pixels * (self.plain - self.compiled) > self.loading


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """Find the blocks that a network repeats.

    They are what its lists and sequences are made of, the innermost ones.

    Returns:
        The network itself where there are none.
    """
    lists = (nn.ModuleList, nn.Sequential)
    found = [
        child
        for part in network.modules()
        if isinstance(part, lists)
        for child in part.children()
        if not isinstance(child, lists) and any(True for _ in child.children())
    ]
    known = set(map(id, found))
    inner = [block for block in found if not any(id(part) in known for part in block.modules() if part is not block)]
    return inner or [network]


def compile_blocks(network: nn.Module) -> None:
    """Let the blocks of a network be compiled when they are called.

    Their weights and names stay.
    """
    os.environ.setdefault(CODE_VARIABLE, str(cache_folder() / "inductor"))
    for block in blocks_of(network):
        block.compile(dynamic=True)


def leave_plain(network: nn.Module) -> None:
    """Undo `compile_blocks`."""
    for block in blocks_of(network):
        block._compiled_call_impl = None


def compile_now(model: TrainedModel) -> bool:
    """Compile a network before its first picture.

    With it, where no other can be made up. Where that fails, as without a C++ compiler, the network stays as it was, and a
    warning says so.

    Returns:
        True if it is compiled.
    """
    compile_blocks(model.network)
    if not probeable(model):
        return True
    run, pictures = _probed(model)
    try:
        with many_kinds():  # convolutions of few values have code of their own: one picture for each
            _estimates(run, pictures[:1].repeat(1, 1, LARGER, LARGER))
            _estimates(run, pictures[:1])
    except Exception as error:  # compilers raise anything
        leave_plain(model.network)
        warnings.warn(
            f"model '{model.info.name}' goes on without torch.compile, which fails here ({type(error).__name__})",
            stacklevel=2,
        )
        return False
    return True


def compile_if_repaid(model: TrainedModel, pixels: float) -> bool:
    """Compile a network if a batch repays it, by what is remembered or measured.

    Args:
        model: its network is compiled for the current number of threads.
        pixels: that the network sees, all steps of all pictures together.

    Returns:
        True if it is compiled.
    """
    if pixels < FEWEST_PIXELS or not probeable(model) or model.device.type not in ("cpu", "cuda"):
        return False
    path = record_of(model)
    found = compiled_before(path)
    if found is not None:
        return found.repays(pixels) and compile_now(model)
    try:
        if pixels * _seconds_a_pixel(*_probed(model)) < WORTH_MEASURING:
            return False
    except Exception:  # it fails here; with a picture it says why
        return False
    found = measure_compiled(model)
    if found is None:
        return False
    with contextlib.suppress(OSError):  # a folder that cannot be written to: it is measured again
        text = json.dumps({"format": CACHE_FORMAT, **asdict(found)})
        write_atomic(path, text.encode(), overwrite=True)
    if not found.faster:
        leave_plain(model.network)
    return found.faster


def record_of(model: TrainedModel) -> Path:
    """Name the file of what was measured for a model.

    It holds for its precision and the current number of threads.
    """
    precision = str(model.precision).removeprefix("torch.")
    return cache_folder() / f"compiled-{key_of(model.network, model.device)}-{precision}.json"


def compiled_before(path: Path) -> Compiled | None:
    """Read what was measured earlier; None where there is nothing sound."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["format"] != CACHE_FORMAT:
            return None
        found = Compiled(*(float(kept[key]) for key in ("plain", "compiled", "loading", "change")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if min(found.plain, found.compiled) > 0 and min(found.loading, found.change) >= 0 else None


def measure_compiled(model: TrainedModel) -> Compiled | None:
    """Compile a network and measure it beside itself.

    Afterwards it is compiled.

    Returns:
        None where it cannot be compiled; it stays plain then.
    """
    run, pictures = _probed(model)
    exact = _estimates(run, pictures)
    began = time.perf_counter()
    importlib.import_module("torch._inductor.compile_fx")
    importing = time.perf_counter() - began
    if not compile_now(model):
        return None
    low, high = model.process.value_range
    change = float((_estimates(run, pictures) - exact).abs().max()) / (high - low)
    plain, compiled = _in_turn(model.network, run, pictures)
    torch.compiler.reset()
    began = time.perf_counter()
    compile_now(model)
    return Compiled(plain, compiled, importing + time.perf_counter() - began, change)


def probeable(model: TrainedModel) -> bool:
    """Test if a picture can be made up for a network.

    So it is for one that works in pixels, and needs to be told nothing.
    """
    return model.autoencoder is None and not model.info.conditions


@contextmanager
def many_kinds() -> Iterator[None]:
    """Let a class of blocks be compiled for many widths."""
    import torch._dynamo

    with torch._dynamo.config.patch(recompile_limit=MOST_KINDS):
        yield


def _probed(model: TrainedModel) -> tuple[Denoiser, Tensor]:
    """The network in its precision, told to do all that it can, and pictures (N, C, H, W) whose sides differ."""
    own, network = model.denoiser, model.network
    if isinstance(network, Network) and network.told:
        network = network.treating(network.examined)
    plain = NetworkDenoiser(network, own.bridge, own.prediction, own.clamp, own.scale).eval()
    run: Denoiser = plain
    if model.precision != torch.float32:
        run = Autocast(plain, model.device.type, model.precision)
    low, high = own.bridge.value_range
    shapes = probes(model.info.channels)
    pictures = low + (high - low) * torch.cat([shapes, shapes.flip(3)], 3)[..., : -shapes.shape[-1] // 2]
    return run, pictures.to(model.device).contiguous(memory_format=torch.channels_last)


def _estimates(run: Denoiser, pictures: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([as_estimate(run(one, one.new_ones(1), one)).x0 for one in pictures.split(1)])


def _in_turn(network: nn.Module, run: Denoiser, pictures: Tensor) -> tuple[float, float]:
    """Seconds a pixel of a compiled network, first as if it were not; in turn, as the machine may be busy."""
    blocks = blocks_of(network)
    code = [block._compiled_call_impl for block in blocks]
    plain, compiled = [], []
    for _ in range(ROUNDS_TIMED):
        leave_plain(network)
        plain.append(_seconds_a_pixel(run, pictures))
        for block, call in zip(blocks, code, strict=True):
            block._compiled_call_impl = call
        compiled.append(_seconds_a_pixel(run, pictures))
    return min(plain), min(compiled)


def _seconds_a_pixel(run: Denoiser, pictures: Tensor) -> float:
    """The shorter time of two calls."""
    one = pictures[:1]
    return min(seconds_taken(lambda: _estimates(run, one), one.device) for _ in range(2)) / one[0, 0].numel()
