"""Quantisation of an exported network to 8 bits, where it costs little.

Two ways are tried, the faster one first: weights and activations of convolutions, calibrated on pictures, then weights alone,
each channel with a scale of its own. What costs 0.1 dB or more on the pictures is not kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rebridge.integrations.onnx_runner import DENOISER_FILE, INT8_FILE, OnnxRestorer

MOST_LOST = 0.1
"""Decibels of PSNR that a quantised network may lose."""
BEST = 100.0
"""PSNR of equal pictures."""


@dataclass(frozen=True)
class Quantised:
    """The outcome of a quantisation.

    Attributes:
        way: "weights and activations", "weights", or "" where nothing was written.
        lost: decibels of PSNR that it costs on the pictures, negative where it gains; those of the better way where both cost
            too much.
        note: the same in a sentence.
    """

    way: str = ""
    lost: float | None = None
    note: str = "no int8 network was wanted"

    @property
    def record(self) -> dict[str, Any]:
        """All of it in plain data."""
        return {"way": self.way, "lost": self.lost, "note": self.note}


Told = Callable[[Any], Mapping[str, Any]]
"""The extra conditions of a picture, by name."""


def untold(picture: Any) -> dict[str, Any]:
    """The conditions of a model that has none."""
    return {}


def quantise_export(
    folder: Path, pictures: Sequence[tuple[Any, Any]], most: float = MOST_LOST, told: Told = untold
) -> Quantised:
    """Write a quantised network beside an exported one, if it costs little.

    Args:
        folder: of the export.
        pictures: (clean, degraded) arrays (H, W, C) of uint8; half of them calibrate, all are measured.
        most: decibels that it may cost.
        told: called with a degraded picture; returns its extra conditions.
    """
    if not pictures:
        return Quantised(note="no pictures to measure on, so no int8 network is written")
    full = OnnxRestorer(folder)
    before = _psnr(full, pictures, told)
    found: list[tuple[float, str]] = []
    for way, write in (("weights and activations", _with_activations), ("weights", _weights_alone)):
        write(full, folder, [(degraded, told(degraded)) for _, degraded in pictures[::2]])
        lost = before - _psnr(OnnxRestorer(folder, int8=True), pictures, told)
        if lost < most:
            size = (folder / INT8_FILE).stat().st_size / (folder / DENOISER_FILE).stat().st_size
            note = f"{way} in 8 bits cost {lost:.3f} dB on {len(pictures)} pictures, at {size:.0%} of the size"
            return Quantised(way, round(lost, 4), note)
        found.append((lost, way))
        (folder / INT8_FILE).unlink()
    lost, way = min(found)
    return Quantised("", round(lost, 4), f"8 bits cost {lost:.2f} dB ({way}), so no int8 network is written")


def _with_activations(full: OnnxRestorer, folder: Path, pictures: Sequence[Any]) -> None:
    """Quantise convolutions, with ranges of what goes through them when these pictures are restored."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quant_pre_process,
        quantize_static,
    )

    class States(CalibrationDataReader):  # type: ignore[misc]
        """What the network sees while pictures are restored."""

        def __init__(self) -> None:
            self.feeds: Iterator[dict[str, Any]] = iter(_seen(full, pictures))

        def get_next(self) -> dict[str, Any] | None:
            return next(self.feeds, None)

    with tempfile.TemporaryDirectory(prefix="rebridge-int8-") as place:
        prepared = Path(place) / DENOISER_FILE
        quant_pre_process(folder / DENOISER_FILE, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            folder / INT8_FILE,
            States(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"],
        )


def _weights_alone(full: OnnxRestorer, folder: Path, pictures: Sequence[Any]) -> None:
    """Store the weights of convolutions and products in 8 bits, and compute in float32."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(folder / DENOISER_FILE)
    weights = {item.name: item for item in model.graph.initializer}
    users = {name: node.op_type for node in model.graph.node for name in node.input[1:2] if name in weights}
    ahead = []
    for name, operation in users.items():
        value = numpy_helper.to_array(weights[name])
        axis = 0 if operation == "Conv" else value.ndim - 1
        if operation not in ("Conv", "Gemm", "MatMul") or value.dtype != np.float32 or value.size < 256:
            continue
        others = tuple(place for place in range(value.ndim) if place != axis)
        scale = np.maximum(np.abs(value).max(others, keepdims=True) / 127, np.float32(1e-12)).astype(np.float32)
        small = np.rint(value / scale).astype(np.int8)
        model.graph.initializer.remove(weights[name])
        parts = {f"{name}_int8": small, f"{name}_scale": scale.reshape(-1)}
        model.graph.initializer.extend(numpy_helper.from_array(part, key) for key, part in parts.items())
        ahead.append(helper.make_node("DequantizeLinear", list(parts), [name], axis=axis))
    nodes = [*ahead, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, folder / INT8_FILE)


def _seen(full: OnnxRestorer, pictures: Sequence[Any]) -> list[dict[str, Any]]:
    """The inputs of the network while pictures are restored, in the recommended number of steps."""
    feeds: list[dict[str, Any]] = []
    plain = full.denoise

    def noting(x: Any, t: float, y: Any, **given: Any) -> Any:
        feeds.append({"x": x, "t": np.full(len(x), t, np.float32), "y": y, **given})
        return plain(x, t, y, **given)

    full.denoise = noting  # type: ignore[method-assign]
    try:
        for picture, conditions in pictures:
            full(picture, **conditions)
    finally:
        del full.denoise
    return feeds


def _psnr(restore: OnnxRestorer, pictures: Sequence[tuple[Any, Any]], told: Told) -> float:
    """Mean PSNR of restored pictures in dB."""
    values = []
    for clean, degraded in pictures:
        error = np.mean((restore(degraded, **told(degraded)).astype(np.float64) - clean.astype(np.float64)) ** 2)
        values.append(BEST if error == 0 else min(BEST, 10 * np.log10(255**2 / error)))
    return float(np.mean(values))
