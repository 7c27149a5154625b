"""Scheduler and pipeline of diffusers on bridges, samplers and models.

    pipe = RestorationPipeline.from_pretrained("rdbm-tiny")
    restored = pipe(picture, num_inference_steps=5, generator=torch.Generator().manual_seed(0)).images[0]

Both compute nothing of their own. A loop of one's own needs the degraded states y beside what diffusers hands to a scheduler:

    y, denoiser = pipe.prepare(picture)
    x = pipe.scheduler.begin(y, generator=generator)
    for t in pipe.scheduler.timesteps:
        x0 = denoiser(pipe.scheduler.scale_model_input(x, t), t, y)
        x = pipe.scheduler.step(x0, t, x, y=y, generator=generator).prev_sample
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from rebridge import bridges, samplers
from rebridge.bridges import Bridge
from rebridge.denoisers import Estimate, as_estimate
from rebridge.images import to_batch
from rebridge.models import Model, ModelError, load_model
from rebridge.restoration import Restorer, engine
from rebridge.restoration.choices import SamplerChoice, named
from rebridge.restoration.conditions import conditions_for
from rebridge.samplers import Point, Sampler, Walk
from rebridge.samplers.base import Noise

try:
    from diffusers import ConfigMixin, DiffusionPipeline, SchedulerMixin
    from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
    from diffusers.configuration_utils import register_to_config
    from diffusers.utils import BaseOutput
except ImportError as error:
    raise ModelError(
        f"rebridge.integrations.diffusers needs extra packages ({error.name or error} is missing): "
        "pip install 'rebridge[priors]'"
    ) from None

SCHEDULER_FOLDER = "scheduler"
OUTPUT_TYPES = ("pil", "np", "pt")


@dataclass
class BridgeSchedulerOutput(BaseOutput):  # type: ignore[misc]
    """Result of one step.

    Attributes:
        prev_sample: the state at the next, earlier time, (B, ...).
        pred_original_sample: the clean estimate of this step, (B, ...).
    """

    prev_sample: Tensor
    pred_original_sample: Tensor | None = None


@dataclass
class RestorationPipelineOutput(BaseOutput):  # type: ignore[misc]
    """Restored pictures.

    Attributes:
        images: a list of PIL images, an array (B, H, W, C) or a tensor (B, C, H, W).
    """

    images: Any


class BridgeScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """A bridge and a sampler as a scheduler of diffusers.

    The model output of a step is the clean estimate x0. Timesteps are times of the bridge in (0, 1], from the degraded end.

    Args:
        bridge: {"name": ..., **parameters} of `rebridge.bridges.create`.
        sampler: {"name": ..., **parameters} of `rebridge.samplers.create`; one that evaluates the network once per step.

    Raises:
        ValueError: an unknown name, or parts that do not fit.
    """

    config_name = "scheduler_config.json"
    order = 1
    init_noise_sigma = 1.0
    _walk: Walk | None = None

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, bridge: Mapping[str, Any] | None = None, sampler: Mapping[str, Any] | None = None) -> None:
        self.bridge: Bridge = _created(bridges.create, bridge or {"name": "goub"})
        self.sampler: Sampler = _created(samplers.create, sampler or {"name": "dbim"})
        self.sampler.check(self.bridge)
        self.set_timesteps()

    @classmethod
    def of(cls, bridge: Bridge, sampler: Sampler) -> BridgeScheduler:
        """Make the scheduler of a bridge and a sampler in hand."""
        made: BridgeScheduler = cls({"name": bridge.name, **bridge.params}, {"name": sampler.name, **sampler.params})
        return made

    def set_timesteps(
        self, num_inference_steps: int | None = None, device: str | torch.device | None = None, timesteps: Any = None
    ) -> None:
        """Choose the times of the next run.

        Args:
            num_inference_steps: by default those of the sampler.
            device: where `timesteps` lie.
            timesteps: decreasing times in (0, 1] to use instead; 0 follows.
        """
        if num_inference_steps is not None:
            self.sampler = type(self.sampler)(**self.sampler.params | {"steps": num_inference_steps})
        if timesteps is None:
            grid = self.sampler.times(self.bridge)
        else:
            grid = torch.tensor([*torch.as_tensor(timesteps).tolist(), 0.0], dtype=torch.float64)
        self._start(grid)
        self.timesteps = self._grid[:-1].to(device or "cpu")

    def begin(
        self,
        y: Tensor,
        x: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        noise: Noise | None = None,
    ) -> Tensor:
        """The state at the first time, and a fresh run.

        Args:
            y: degraded images (B, ...) in the bridge's value range.
            x: the state, where it is known; by default what sampler and bridge prescribe.
            generator, noise: as in `step`.
        """
        state, times = self.sampler.begin(self._walk_of(y, generator, noise), x, self._grid)
        self._start(times)
        self.timesteps = self._grid[:-1].to(self.timesteps.device)
        return state

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """The state as it is: networks of bridges scale their input themselves."""
        return sample

    def step(
        self,
        model_output: Tensor | Estimate,
        timestep: float | Tensor,
        sample: Tensor,
        y: Tensor,
        generator: torch.Generator | None = None,
        noise: Noise | None = None,
        return_dict: bool = True,
    ) -> Any:
        """Go to the next time.

        Args:
            model_output: the clean estimate at `timestep`, (B, ...).
            timestep: one of `timesteps`.
            sample: the state there, (B, ...).
            y: degraded images (B, ...).
            generator: for fresh noise, on y's device.
            noise: called like torch.randn_like instead.
            return_dict: return a `BridgeSchedulerOutput` instead of a tuple.

        Raises:
            ValueError: a time that is not in `timesteps`, or a sampler that needs more than one evaluation here.
        """
        place = self._place(float(timestep))
        walk = self._walk_of(y, generator, noise)
        if self._walk is not None:
            walk.history, walk.inner = self._walk.history, self._walk.inner
        answers = [as_estimate(model_output)]
        walk._denoiser = lambda x, t, y: _next(answers, self.sampler)
        state = self.sampler.step(walk, sample, self._points[place], self._points[place + 1])
        self._walk = walk
        clean = as_estimate(model_output).x0
        return BridgeSchedulerOutput(state, clean) if return_dict else (state, clean)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor, y: Tensor) -> Tensor:
        """Draw states from clean images: alpha x0 + beta y + gamma modulation * noise.

        Args:
            original_samples: clean images x0, (B, ...).
            noise: standard normal, (B, ...).
            timesteps: times (B,) in [0, 1].
            y: degraded images (B, ...).
        """
        return self.bridge.forward(original_samples, y, timesteps, noise)

    def _start(self, times: Tensor) -> None:
        """Take a grid; the first step forgets what was before."""
        self._grid = times.double().cpu()
        self._points: list[Point] = Walk(self.bridge, _unasked, self._grid, torch.randn_like).points(
            self._grid, self.sampler.needs_slopes
        )
        self._plan = self.sampler.plan(self.bridge, self._points)
        self._walk = None

    def _walk_of(self, y: Tensor, generator: torch.Generator | None, noise: Noise | None) -> Walk:
        drawn = noise or (
            lambda like: torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
        )
        walk = Walk(self.bridge, _unasked, y, drawn)
        walk.plan = self._plan
        inner = self.sampler.inner_times(self.bridge, self._grid)
        if len(inner):
            raise ValueError(
                f"sampler {self.sampler.name!r} evaluates the network inside steps: use RestorationPipeline"
            )
        return walk

    def _place(self, timestep: float) -> int:
        """The number of a time in the grid."""
        distances = (self._grid[:-1] - timestep).abs()
        place = int(distances.argmin())
        if distances[place] > 1e-6:
            raise ValueError(
                f"timestep {timestep} is none of this scheduler's; call set_timesteps and use its timesteps"
            )
        return place


class RestorationPipeline(DiffusionPipeline):  # type: ignore[misc]
    """A model as a pipeline of diffusers, which gives what `Restorer` gives.

    Args:
        model: a `Model`, as `rebridge.models.load_model` returns.
        scheduler: by default the model's process with its recommended sampler.
    """

    _callback_tensor_inputs = ("latents", "pred_original_sample")

    def __init__(self, model: Model, scheduler: BridgeScheduler | None = None) -> None:
        super().__init__()
        restorer = Restorer(model)
        chosen = BridgeScheduler.of(restorer.bridge, restorer.sampler()) if scheduler is None else scheduler
        self.register_modules(model=model, scheduler=chosen)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> RestorationPipeline:
        """Load a packaged model, a folder, a file or a hub id.

        Args:
            pretrained_model_name_or_path: see `rebridge.models.load_model`.
            options: of `load_model`, such as device, dtype and revision; torch_dtype is taken for dtype.
        """
        if "torch_dtype" in options:
            options["dtype"] = options.pop("torch_dtype")
        scheduler = options.pop("scheduler", None)
        model = load_model(pretrained_model_name_or_path, **options)
        place = Path(os.path.expanduser(pretrained_model_name_or_path)) / SCHEDULER_FOLDER
        if scheduler is None and place.is_dir():
            scheduler = BridgeScheduler.from_pretrained(place)
        return cls(model, scheduler)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:
        """Write a model folder, with the scheduler in a folder inside.

        Options as in `Model.save_pretrained`.
        """
        folder = self.model.save_pretrained(save_directory, **options)
        self.scheduler.save_pretrained(Path(folder) / SCHEDULER_FOLDER)

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        place: torch.device = self.model.device
        return place

    def to(self, device: str | torch.device) -> RestorationPipeline:
        """Move the model to a device; returns the pipeline itself."""
        self.model.to(device)
        return self

    def prepare(self, image: Any, **conditions: Any) -> tuple[Tensor, Callable[..., Any]]:
        """The degraded states y of pictures, and the denoiser bound to them.

        It is called as denoiser(x, t, y), where t is a time, as in `BridgeScheduler.timesteps`, or one for each picture.

        Args:
            image: whatever `Restorer` takes.
            conditions: what the model declares, by name.
        """
        batch = to_batch(image)
        y = engine.predicted(self.model, engine.enter(self.model, batch.images), engine.Tiles())
        condition = engine.coloured(batch.images, self.model.info.channels).to(self.device)
        denoiser = self.model.given(condition, **conditions_for(self.model, conditions, batch.images))

        def evaluate(x: Tensor, t: Any, y: Tensor) -> Any:
            with torch.no_grad():
                return denoiser(x, torch.as_tensor(t, dtype=torch.float32, device=x.device).expand(len(x)), y)

        return y, evaluate

    def __call__(
        self,
        image: Any,
        num_inference_steps: int | None = None,
        generator: torch.Generator | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., Any] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        sampler: SamplerChoice = None,
        **options: Any,
    ) -> Any:
        """Restore a picture or a batch of them.

        Args:
            image: whatever `Restorer` takes.
            num_inference_steps: by default those of the scheduler.
            generator: its initial seed is the seed of the result; by default 0.
            output_type: "pil", "np" (B, H, W, C) or "pt" (B, C, H, W), both in [0, 1].
            return_dict: return a `RestorationPipelineOutput` instead of a tuple.
            callback_on_step_end: called as callback(pipeline, step, timestep, tensors) after each step; "latents" in the
                dictionary that it returns is the state to go on from. Raise from it to stop.
            callback_on_step_end_tensor_inputs: what it gets: "latents", and "pred_original_sample", the clean estimate.
            sampler: instead of the scheduler's.
            options: of `Restorer.__call__`, such as tile, samples and conditions.

        Raises:
            ValueError: an unknown output type or tensor, a state of another shape, or options that do not fit.
        """
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type must be one of {', '.join(OUTPUT_TYPES)}, got {output_type!r}")
        wanted = list(callback_on_step_end_tensor_inputs)
        if isinstance(callback_on_step_end, PipelineCallback | MultiPipelineCallbacks):
            wanted = callback_on_step_end.tensor_inputs
        if unknown := sorted(set(wanted) - set(self._callback_tensor_inputs)):
            known = ", ".join(self._callback_tensor_inputs)
            raise ValueError(f"callback_on_step_end_tensor_inputs may be {known}, got {', '.join(unknown)}")
        chosen = {"name": self.scheduler.sampler.name, **self.scheduler.sampler.params}
        restore = Restorer(self.model, self.scheduler.bridge, chosen if sampler is None else sampler)

        def tell(step: int, t: float, x: Tensor, x0: Tensor) -> Tensor:
            tensors = {"latents": x, "pred_original_sample": x0}
            returned = callback_on_step_end(self, step, t, {name: tensors[name] for name in wanted}) or {}  # type: ignore[misc]
            state: Tensor = returned.get("latents", x)
            if state.shape != x.shape:
                raise ValueError(f"latents must be of shape {tuple(x.shape)}, got {tuple(state.shape)}")
            return state

        batch = to_batch(image)
        seed = 0 if generator is None else generator.initial_seed()
        if callback_on_step_end is not None:
            heard = _heard(restore.sampler(steps=num_inference_steps), tell)
            options = {"sampler": heard, "callback": lambda *_: None, **options}  # which asks for each step by itself
        found = restore(batch.images, steps=num_inference_steps, seed=seed, **options)
        images = _shown(found, output_type)
        return RestorationPipelineOutput(images) if return_dict else (images,)


def _shown(images: Tensor, output_type: str) -> Any:
    """Images (B, C, H, W) in [0, 1] in the form that was asked for."""
    if output_type == "pt":
        return images
    array = images.permute(0, 2, 3, 1).cpu().numpy()
    if output_type == "np":
        return array
    from PIL import Image

    pixels = (array * 255).round().astype("uint8")
    return [Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture) for picture in pixels]


def _created(create: Callable[..., Any], described: Mapping[str, Any]) -> Any:
    params = named(dict(described))
    return create(params.pop("name"), **params)


def _heard(sampler: Sampler, tell: Callable[[int, float, Tensor, Tensor], Tensor]) -> Sampler:
    """The same sampler, going on after each step from what it is told to."""
    steps: WeakKeyDictionary[Walk, int] = WeakKeyDictionary()

    class Heard(type(sampler)):  # type: ignore[misc]
        def step(self, walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
            state = super().step(walk, x, t, s)
            steps[walk] = steps.get(walk, -1) + 1
            return tell(steps[walk], t.t, state, walk.history[-1][1])

    return Heard(**sampler.params)


def _next(answers: list[Estimate], sampler: Sampler) -> Estimate:
    """The model output of a step, which is had once."""
    if not answers:
        raise ValueError(f"sampler {sampler.name!r} needs several evaluations in this step: use RestorationPipeline")
    return answers.pop()


def _unasked(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    raise ValueError("this sampler evaluates the network before its first step: use RestorationPipeline")
