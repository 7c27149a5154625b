"""The one place that turns options into a `Restorer` or a `Model`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rebridge.catalogue import Spec
from rebridge.commands.options import DEFAULT_MODELS, ModelOptions, PriorOptions, SamplingOptions
from rebridge.irbridge.finish import Finish
from rebridge.models import Model, TrainedModel, load_model, load_prior
from rebridge.restoration import Restorer
from rebridge.restoration.engine import Tiles, check_samples
from rebridge.samplers import ImageNoise, Sampler


@dataclass(frozen=True)
class Opened:
    """A restorer, the name it was opened by, and what its user should know.

    Attributes:
        restorer: ready to be called.
        name: of the model, as given.
        note: a sentence, where the model does not see the degraded image.
    """

    restorer: Restorer
    name: str
    note: str | None = None


_OWN_OPTIONS = {"name": "--model"} | {key: f"--{key}" for key in ("device", "dtype", "compile", "controlnet")}
"""Options of loading a model that are options of the command themselves."""


def open_restorer(options: ModelOptions, task: str | None = None) -> Opened:
    """Open the restorer that the options describe.

    Args:
        options: method, model, bridge, preset and device.
        task: of irbridge, the degradation whose settings are used; else what to remove, as "rain" or "haze+noise", of a model
            that can be told.

    Raises:
        ModelError: a model that cannot be loaded.
        ValueError: options of the other method, or parts that do not fit together.
    """
    name = options.model or DEFAULT_MODELS[options.method]
    if options.method == "bridge":
        _check_bridge_options(options)
        model = load_model(name, options.device, dtype=options.dtype, compile=options.compile or None)
        if task is not None:
            model = _told(model, task)
        return Opened(Restorer(model, options.bridge), name)
    restorer = Restorer.from_preset(open_prior(name, options), options.preset, task, **preset_settings(options))
    if restorer.model.info.conditional:
        return Opened(restorer, name)
    note = (
        f"{name} does not see the degraded image, so the result drifts to what is likely without it; train a condition "
        "(docs/irbridge.md), or use `rebridge solve` for a known degradation"
    )
    return Opened(restorer, name, note)


def preset_settings(options: ModelOptions) -> dict[str, Any]:
    """Collect what the options change of a preset."""
    settings: dict[str, Any] = {"schedule": options.schedule}
    if options.bridge is not None:
        spec = Spec.parse(options.bridge)
        settings["bridge"] = {"name": spec.name, **spec.params}
    return {"finish": Finish(options.detail, options.colour, options.resize), **settings}


def open_prior(name: str, options: PriorOptions) -> Model:
    """Load a generative model.

    Raises:
        ModelError: any other model, or options that its format does not have.
        ValueError: an option of the model that has an option of its own.
    """
    given = dict(options.prior_options or {})
    for key in given:
        if key in _OWN_OPTIONS:
            raise ValueError(f"--prior-option takes no {key}: give {_OWN_OPTIONS[key]}")
    given["controlnet"] = options.controlnet
    return load_prior(name, device=options.device, dtype=options.dtype, compile=options.compile or None, **given)


def check_sampling(restorer: Restorer, options: SamplingOptions, sampler: str | None = None) -> Sampler:
    """Return the sampler that the options mean.

    Raises:
        ValueError: options that would fail for every image; better told before the work than after.
    """
    check_images(options)
    chosen = restorer.sampler(sampler, options.steps)
    restorer.check(chosen)
    return chosen


def check_noise(restorer: Restorer, sampler: Sampler, options: SamplingOptions, seeded: bool = True) -> None:
    """Raise ValueError for a seed or samples that change nothing.

    seeded: whether the seed is of use for the sampler alone.
    """
    given = ["--samples"] * (options.samples > 1) + ["--seed"] * (seeded and options.seed is not None)
    if given and not restorer.draws_noise(sampler):
        change = "change" if len(given) > 1 else "changes"
        raise ValueError(
            f"the sampler {sampler.name} draws no noise here, so that {' and '.join(given)} {change} nothing: "
            "leave that out, or take --sampler dbim:eta=1 with 3 steps or more"
        )


def check_images(options: SamplingOptions) -> None:
    """Raise ValueError for impossible samples, seed or tiles."""
    check_samples(options.samples)
    ImageNoise([options.noise_seed])
    Tiles(options.tile, options.overlap)


def _told(model: Model, task: str) -> Model:
    """The model that removes the kinds of "rain" or "haze+noise"."""
    try:
        if isinstance(model, TrainedModel):
            return model.treating(task.split("+"))
    except ValueError as error:
        if "kinds must be" in str(error):
            raise ValueError(f"--task {task}: {error}") from None
    raise ValueError(
        f"--task goes with --method irbridge, or a model that can be told, as rdbm-small; not {model.info.name}"
    )


def _check_bridge_options(options: ModelOptions) -> None:
    given: dict[str, Any] = {"--preset": options.preset, "--schedule": options.schedule}
    given |= {"--controlnet": options.controlnet, "--detail": options.detail or None}
    given |= {"--colour": options.colour, "--resize": options.resize}
    given |= {"--prior-option": options.prior_options or None}
    for option, value in given.items():
        if value is not None:
            raise ValueError(f"{option} goes with --method irbridge")
