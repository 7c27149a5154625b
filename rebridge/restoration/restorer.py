"""Restore images with any model: the one call that most users need."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rebridge import inverse, samplers
from rebridge.bridges import Bridge
from rebridge.bridges.transition import check_pair
from rebridge.denoisers import Counted, Denoiser, Progress
from rebridge.images import Batch, Image, to_batch
from rebridge.inverse.measurement import Measurement
from rebridge.inverse.methods.base import Method
from rebridge.inverse.operators import as_operator
from rebridge.irbridge import presets
from rebridge.irbridge.finish import Finish
from rebridge.models import Finding, Model, ModelError, as_model, load_model
from rebridge.restoration import borders, engine, large
from rebridge.restoration.agreeing import agreeing, picture_of
from rebridge.restoration.choices import (
    Asked,
    BridgeChoice,
    MethodChoice,
    SamplerChoice,
    Seed,
    bridge_of,
    named,
    seeds_of,
)
from rebridge.restoration.conditions import conditions_for
from rebridge.restoration.engine import Tiles
from rebridge.restoration.looking import examine
from rebridge.restoration.samples import Samples
from rebridge.samplers import ImageNoise, Sampler
from rebridge.samplers.base import Callback


class Restorer:
    """A model, a bridge and a sampler behind one call: image in, image out.

        restore = Restorer.from_pretrained("rdbm-tiny")
        image = restore(image, steps=10, seed=0)

    Args:
        model: a `Model`, its name or folder, a pipeline of diffusers, or a network or denoiser in hand (with its `bridge`).
        bridge: what is walked: None for the model's own process, a `Bridge`, "goub:lam=0.2", or {"name": ..., **parameters}.
            Along another bridge than the model's own process every state is carried over by the transition equation, which is
            IRBridge. The bridge's noise is in units of the model's space.
        sampler: a name, {"name": ..., **parameters} or a `Sampler`; by default the model's recommended one, and "irbridge"
            for a generative model on a bridge.
        detail: of `rebridge.irbridge.Finish`, for short.
        finish: size, colours and details of pictures that pass a generative model.
        options: of `rebridge.models.as_model`, where `model` is not a `Model` yet.

    Raises:
        ModelError: a model that cannot be loaded or used.
        ValueError: a bridge or sampler that does not exist or does not fit.
    """

    def __init__(
        self,
        model: Any,
        bridge: BridgeChoice = None,
        sampler: SamplerChoice = None,
        *,
        detail: float = 0.0,
        finish: Finish | None = None,
        **options: Any,
    ) -> None:
        self.finish = finish or Finish(detail)
        chosen = bridge_of(bridge)
        self.model: Model = as_model(model, chosen, **options)
        self.bridge: Bridge = self.model.process if chosen is None else chosen
        self._wrap: engine.Wrap = lambda denoiser: denoiser
        self._preset: dict[str, Any] | None = None
        if sampler is None:
            sampler = self._recommended()
        self.sampler_config: dict[str, Any] = (
            {"name": sampler.name, **sampler.params} if isinstance(sampler, Sampler) else named(sampler)
        )
        self.check(self.sampler())

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        compile: bool = False,
        revision: str | None = None,
        *,
        bridge: BridgeChoice = None,
        sampler: SamplerChoice = None,
        detail: float = 0.0,
        **options: Any,
    ) -> Restorer:
        """Make a restorer for a packaged model, a folder, a file or a hub id.

        Args:
            name: see `rebridge.models.load_model`.
            device: by default a GPU where there is one, else the CPU.
            dtype: float32, or bfloat16 or float16 to run the network in autocast (faster on CPUs with bf16, slower on others);
                "auto" for that where a measurement finds it faster and within 1/255; states stay in float32.
            compile: torch.compile the blocks of the network, some seconds to a minute once, for images of any size.
            revision: branch, tag or commit on the hub.
            bridge, sampler, detail: of the class.
            options: of the model's format, such as controlnet.

        Raises:
            ModelError: a model that cannot be loaded.
            ValueError: a device or dtype that does not exist.
        """
        given = {"dtype": dtype, "compile": compile or None, **options}
        return cls(load_model(name, device, revision, **given), bridge, sampler, detail=detail)

    @classmethod
    def from_preset(
        cls,
        model: Any,
        preset: str | Path | None = None,
        task: str | None = None,
        detail: float = 0.0,
        finish: Finish | None = None,
        **settings: Any,
    ) -> Restorer:
        """Make a restorer of a generative model inside a bridge, by a preset.

        Args:
            model: as in the class.
            preset: "sound" or "paper", see `rebridge.irbridge.presets`, a file that `rebridge tune` wrote, or "tuned": the one
                that the model brings along; by default that one where it has settings for the task, or else "sound".
            task: the degradation, for the settings chosen for it.
            detail, finish: of the class.
            settings: changes to the preset, see `rebridge.irbridge.preset`.

        Raises:
            ValueError: an unknown preset, or settings that cannot be combined.
        """
        opened = as_model(model)
        chosen = presets.preset(presets.chosen_preset(preset, opened.info.presets, task), task, **settings)
        restorer = cls(opened, chosen.pop("bridge"), {"name": "irbridge", **chosen}, finish=finish or Finish(detail))
        restorer._preset = {"preset": preset, "finish": restorer.finish, **settings}
        return restorer

    def __call__(
        self,
        image: Any,
        *,
        steps: int | None = None,
        seed: Seed = 0,
        tile: int | None = None,
        overlap: int | None = None,
        samples: int = 1,
        strength: float = 1.0,
        sampler: SamplerChoice = None,
        method: MethodChoice = None,
        callback: Callback | None = None,
        progress: Progress | None = None,
        **conditions: Any,
    ) -> Any:
        """Restore an image, a batch of them, or a measurement by a known operator.

        Args:
            image: PIL image, numpy array (H, W[, C]) or (B, H, W, C), tensor ([B, ]C, H, W), `rebridge.images.Image`, or
                `rebridge.inverse.Measurement`; float values in [0, 1]. Alpha stays, and even borders where the model examines.
            steps: of the sampler or method, by default what is recommended.
            seed: the result is a function of image, options and seed, the same alone and in any batch; a list gives each
                image of a batch its own.
            tile, overlap: side of the tiles that the network sees and pixels they share. By default images of more than
                1024 x 1024 pixels are taken in tiles of at most 1280, which come out as the whole would; a model with a window
                always sees tiles of that size; else tile=0 never tiles. If memory runs out, tiles are halved.
            samples: number of restorations with different noise to average.
            strength: share of the change that is made: 0 returns the image, 1 what the model makes. Not for measurements.
            sampler: as in the class, for this call.
            method: for a measurement: a zero-shot method's name, {"name": ..., **parameters} or object; by default
                `rebridge.inverse.recommended`. A trained bridge takes a measurement by itself: it restores the picture of
                it, and its estimates are made to agree with what was measured.
            callback: called after each step with (step, t, x_t, x0_hat) in the model's space; raise from it to cancel.
            progress: called with (done, total) in steps of the sampler, or calls of the method.
            conditions: what `model.info.conditions` declares, by name, one for all images or one for each: a map as an image of
                the same size, else a number, an array or a tensor.

        Returns:
            What came in: the same type, dtype and size; for a measurement a tensor (B, C, H, W) in [0, 1].

        Raises:
            ValueError: impossible options, an image that the model cannot take, or a condition that is missing, unknown or of
                another shape.
        """
        return self.sample(
            image,
            samples,
            steps=steps,
            seed=seed,
            tile=tile,
            overlap=overlap,
            strength=strength,
            sampler=sampler,
            method=method,
            callback=callback,
            progress=progress,
            keep=False,
            **conditions,
        ).mean

    def sample(
        self,
        image: Any,
        samples: int = 4,
        *,
        steps: int | None = None,
        seed: Seed = 0,
        tile: int | None = None,
        overlap: int | None = None,
        strength: float = 1.0,
        sampler: SamplerChoice = None,
        method: MethodChoice = None,
        callback: Callback | None = None,
        progress: Progress | None = None,
        keep: bool = True,
        **conditions: Any,
    ) -> Samples:
        """Restore an image several times: mean, standard deviation, all samples.

        Options as in `__call__`; the first sample is what a call with samples=1 returns, unless that is a mean, as by the method
        recommended for one result of a measurement. With a deterministic sampler
        and start they are all the same: use sampler={"name": "dbim", "eta": 1.0}. With keep=False only their mean and standard
        deviation stay in memory.
        """
        engine.check_strength(strength, isinstance(image, Measurement))
        asked = Asked(steps, seed, Tiles(tile, overlap), samples, strength, callback, progress, keep, conditions)
        if isinstance(image, Measurement):
            return self._solved(image, asked, method)
        return borders.restored_within(self.model, image, asked, lambda one, given: self._restored(one, given, sampler))

    def to(self, device: str | torch.device) -> Restorer:
        """Move the model to a device; returns the restorer itself."""
        self.model.to(device)
        return self

    def save_pretrained(self, folder: str | Path, **options: Any) -> Path:
        """Write a model folder, with this sampler as the recommended one.

        Options as in `Model.save_pretrained`.

        Raises:
            ModelError: the model cannot be written, or restores along another bridge than its own.
        """
        if self.bridge is not self.model.process:
            raise ModelError("only a model on its own bridge can be saved; write down the bridge with the model's name")
        given = self.model.info
        self.model.info = replace(given, sampler=dict(self.sampler_config))
        try:
            return self.model.save_pretrained(folder, **options)
        finally:
            self.model.info = given

    def prediction(self, image: Any, *, tile: int | None = None, overlap: int | None = None) -> Any:
        """Restore by the predictor alone, without the bridge.

        Images, tile and overlap as in `__call__`.

        Raises:
            ValueError: the model has no predictor.
        """
        if self.model.predictor is None:
            raise ValueError("the model has no predictor: its bridge starts from the degraded image itself")
        batch = to_batch(image, self.model.info.channels)
        found = engine.predicted(self.model, engine.enter(self.model, batch.images), Tiles(tile, overlap))
        return batch.back(engine.leave(self.model, found, batch.images))

    def examine(self, image: Any) -> list[Finding]:
        """Tell what ails an image: kinds of degradation, the most probable first.

        Args:
            image: one image, as in `__call__`.

        Raises:
            ModelError: the model does not tell what it finds.
            ValueError: several images.
        """
        return examine(self.model, image)

    def wrapped(self, wrap: Callable[[Denoiser], Denoiser]) -> Restorer:
        """Make a restorer like this one with `wrap(denoiser)`, for instance to count."""
        other = copy.copy(self)
        inner = self._wrap
        other._wrap = lambda denoiser: wrap(inner(denoiser))
        return other

    def for_task(self, task: str) -> Restorer:
        """The restorer for a degradation, where a preset has settings by task."""
        if self._preset is None:
            return self
        other = self.from_preset(self.model, task=task, **self._preset)
        other._wrap = self._wrap
        return other

    def sampler(self, choice: SamplerChoice = None, steps: int | None = None) -> Sampler:
        """Make the sampler for a choice as in `__call__`; ValueError if impossible."""
        if isinstance(choice, Sampler):
            if steps is not None and steps != choice.steps:
                raise ValueError(f"steps={steps} contradicts the sampler, which has {choice.steps}")
            return self._fitted(choice)
        config = dict(self.sampler_config)
        if choice is not None:
            chosen = named(choice)
            # Another sampler has other parameters; the number of steps is the one they share.
            config = config if chosen["name"] == config["name"] else {"steps": config.get("steps", 10)}
            config |= chosen
        if steps is not None:
            config["steps"] = steps
        return self._fitted(samplers.create(config.pop("name"), **config))

    def check(self, sampler: Sampler) -> None:
        """Raise ValueError where a sampler cannot walk this restorer's bridge."""
        sampler.check(self.model.process if sampler.walks_prior else self.bridge)
        if self.bridge != self.model.process:
            check_pair(self.bridge, self.model.process)

    def draws_noise(self, sampler: Sampler) -> bool:
        """Test if the result of a sampler depends on the seed, by a run on one pixel."""
        return engine.draws_noise(self.model, self.bridge, sampler)

    def method(
        self, choice: MethodChoice = None, steps: int | None = None, of: Measurement | None = None, samples: int = 1
    ) -> Method:
        """Make the zero-shot method for a choice as in `__call__`, of a measurement."""
        if isinstance(choice, Method):
            return choice.with_settings(steps)
        if choice is None and of is not None:
            return inverse.recommended(as_operator(of.operator, of.y), of.sigma_y, samples).with_settings(steps)
        chosen = {"name": "ddnm"} if choice is None else named(choice)
        return inverse.create(chosen.pop("name"), **chosen, **({} if steps is None else {"steps": steps}))

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.model.device

    def _recommended(self) -> dict[str, Any]:
        if self.bridge == self.model.process:
            return dict(self.model.info.sampler)
        return {"name": "irbridge"} if self.model.process.generative else {"name": "dbim", "steps": 10}

    def _fitted(self, sampler: Sampler) -> Sampler:
        return engine.fitted(self.model, self.bridge, sampler)

    def _restored(
        self, image: Any, asked: Asked, sampler: SamplerChoice = None, measured: Measurement | None = None
    ) -> Samples:
        walk = self.sampler(sampler, asked.steps)
        whole = large.restored_bytes(self, walk, image, asked, self._wrap) if isinstance(image, Image) else None
        if whole is not None:
            return Samples(whole, torch.zeros(()).expand(1, *whole.pixels.shape), [whole] * asked.keep, 1)
        batch: Batch = to_batch(image, self.model.info.channels)
        images, seeds = self.finish.scaled(batch.images), seeds_of(asked.seed, len(batch.images))
        height, width = images.shape[-2:]
        if large.goes_by_tile(self, walk, (height, width), asked, measured):
            only = large.restored_by_tile(self, walk, images, asked, self._wrap)
            return Samples.of(engine.gather(lambda noise: only, seeds, 1, asked.keep), batch.back, 1)
        told = conditions_for(self.model, asked.conditions, batch.images, self.finish.scaled)
        y = engine.predicted(self.model, engine.enter(self.model, images), asked.tiles)
        condition = engine.coloured(images, self.model.info.channels).to(self.device)
        counted = Counted(engine.tiled(self.model, condition, (height, width), asked.tiles, self._wrap, told))
        denoiser = counted if measured is None else agreeing(self.model, counted, measured)
        report = engine.step_counter(asked.callback, asked.progress, asked.samples * walk.steps)

        def draw(noise: ImageNoise) -> Tensor:
            states = engine.walk_bridge(self.model, self.bridge, walk, denoiser, y, noise, report)
            return engine.leave(self.model, states, batch.images, self.finish, asked.strength)

        found = engine.gather(draw, seeds, asked.samples, asked.keep)
        return Samples.of(found, batch.back, counted.rows // len(y))

    def _solved(self, measured: Measurement, asked: Asked, method: MethodChoice) -> Samples:
        if method is None and not self.model.process.generative:
            return self._restored(picture_of(measured), asked, None, measured)
        blank = measured.y.new_zeros(()).expand(len(measured.y), *as_operator(measured.operator, measured.y).shape)
        found, calls = engine.solve_measurement(
            self.model,
            self.method(method, asked.steps, measured, asked.samples),
            measured,
            seeds_of(asked.seed, len(blank)),
            samples=asked.samples,
            keep=asked.keep,
            tiles=asked.tiles,
            wrap=self._wrap,
            callback=asked.callback,
            progress=asked.progress,
            told=conditions_for(self.model, asked.conditions, blank),
        )
        return Samples.of(found, lambda images: images, calls)
