"""Runs of samplers as lists of linear operations, for other runtimes.

Every step of a sampler is a mixture of the state, y, clean estimates and noise, with factors that depend on times alone. A run on
unit vectors in place of images therefore shows all factors; `traced` writes them down. What is not linear shows when the list
is tried (`check`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.samplers import Sampler, Walk

Program = list[dict[str, Any]]
"""Operations; the result of number i (from 1) is image i, y is image 0, and the last one is the restored image."""
TRACED_TOLERANCE = 1e-6


class _Recorder:
    """Unit vectors in place of images: the number of each is that of its operation."""

    def __init__(self, room: int) -> None:
        self.program: Program = []
        self.room = room

    def unit(self, number: int) -> Tensor:
        return torch.eye(self.room, dtype=torch.float64)[number : number + 1]

    def add(self, op: str, **details: Any) -> Tensor:
        self.program.append({"op": op, **details})
        return self.unit(len(self.program))

    def terms(self, mixture: Tensor) -> list[list[float]]:
        return [[factor, number] for number, factor in enumerate(mixture[0].tolist()) if factor != 0]


def traced(sampler: Sampler, bridge: Bridge) -> Program:
    """Write a sampler's run along a bridge as a list of operations.

    Args:
        sampler: with its number of steps.
        bridge: the process.

    Raises:
        ValueError: a sampler that cannot follow the bridge, or whose steps are not linear.
    """
    sampler.check(bridge)
    grid = sampler.times(bridge)
    recorder = _Recorder(16 * (len(grid) + 2))
    walk = Walk(_recorded(bridge, recorder), _denoiser(recorder), recorder.unit(0), lambda _: recorder.add("noise"))
    x, grid = sampler.begin(walk, None, grid)
    points = walk.points(grid, sampler.needs_slopes)
    walk.plan = sampler.plan(bridge, points)
    inner = sampler.inner_times(bridge, grid)
    if len(inner):
        middles = walk.points(inner, sampler.needs_slopes)
        walk.inner = {t: replace(middle, last=False) for t, middle in zip(points[:-1], middles, strict=True)}
    for t, s in pairwise(points):
        x = recorder.add("mix", terms=recorder.terms(sampler.step(walk, x, t, s)))
    program = _with_ends(recorder.program)
    check(program, sampler, bridge)
    return program


def carry_out(
    program: Program, y: Tensor, denoiser: Callable[..., Tensor], noise: Callable[[Tensor], Tensor]
) -> Tensor:
    """Carry out a program; denoiser(x, t, y) and noise(like) as samplers take them."""
    known = [y]

    def mixed(terms: Sequence[Sequence[float]]) -> Tensor:
        return sum((factor * known[int(number)] for factor, number in terms), torch.zeros_like(y))

    for step in program:
        if step["op"] == "noise":
            known.append(noise(y))
        elif step["op"] == "modulate":
            known.append(mixed(step["terms"]) * known[step["noise"]])
        elif step["op"] == "denoise":
            known.append(denoiser(mixed(step["terms"]), torch.full((len(y),), step["t"], dtype=y.dtype), y))
        else:
            known.append(mixed(step["terms"]))
    return known[-1]


def check(program: Program, sampler: Sampler, bridge: Bridge) -> None:
    """Compare a program with its sampler, around a denoiser that is not linear.

    Raises:
        ValueError: they differ.
    """

    def denoiser(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(0.3 * x + 0.5 * y + t.view(-1, 1).to(x))

    y = torch.linspace(-0.9, 0.9, 24, dtype=torch.float64)[None]
    draws = [torch.Generator().manual_seed(7) for _ in range(2)]
    noises = [lambda like, draw=draw: torch.randn(like.shape, generator=draw, dtype=like.dtype) for draw in draws]
    wanted = sampler(bridge, denoiser, y, noise=noises[0])
    found = carry_out(program, y, denoiser, noises[1])
    if not torch.allclose(wanted, found, rtol=TRACED_TOLERANCE, atol=TRACED_TOLERANCE):
        raise ValueError(
            f"sampler {sampler.name!r} cannot be exported on {bridge.name!r}: its steps are not linear; use dbim"
        )


def _denoiser(recorder: _Recorder) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda x, t, y: recorder.add("denoise", t=float(t[0]), terms=recorder.terms(x))


def _recorded(bridge: Bridge, recorder: _Recorder) -> Bridge:
    """The bridge, with a modulation by the residual that is written down: a product of images is no mixture."""
    if bridge.modulation != "residual":
        return bridge

    def modulate(self: Bridge, x0: Tensor, y: Tensor, noise: Tensor) -> Tensor:
        return recorder.add("modulate", terms=recorder.terms(x0 - y), noise=int(noise[0].argmax()))

    found = copy.copy(bridge)
    object.__setattr__(found, "__class__", type(bridge.name, (type(bridge),), {"modulate": modulate}))
    return found


def _with_ends(program: Program) -> Program:
    """Drop operations that nothing needs but noise, whose place in the order counts, and say when an image is done with."""
    used: dict[int, int] = {}
    needed = {len(program)}
    for number in range(len(program), 0, -1):
        step = program[number - 1]
        if number in needed:
            needed |= {int(name) for _, name in step.get("terms", ())} | {step.get("noise", 0)}
    for number, step in enumerate(program, 1):
        if number not in needed and step["op"] != "noise":
            step["terms"], step["op"] = [], "mix"
        for name in [*(int(name) for _, name in step.get("terms", ())), *([step["noise"]] if "noise" in step else [])]:
            used[name] = number
    for name, number in used.items():
        if name:
            program[number - 1].setdefault("done", []).append(name)
    return program
