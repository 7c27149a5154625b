"""Sections of the configuration that training methods share, checked by pydantic.

`FitConfig` is what the loop needs, `RunConfig` adds the data; each method of `rebridge.training.methods` adds its own.
"""

import math
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rebridge.catalogue import check_name
from rebridge.networks.conditions import Condition
from rebridge.training.distances import LOSSES
from rebridge.training.muon import Muon, in_one_kernel

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1, le=10**9)]
NotNegative = Annotated[int, Field(ge=0, le=10**9)]
Count = Annotated[int, Field(ge=1, le=2**16)]
"""Things that are in memory at once, such as the pairs of a batch."""
Side = Annotated[int, Field(ge=1, le=2**14)]
"""Side of an image in pixels."""
Weight = Annotated[float, Field(ge=0, le=1e9)]
NoiseLevel = Annotated[float, Field(gt=0, le=1e4)]
Rate = Annotated[float, Field(gt=0, le=1e38)]
"""A learning rate or a norm, within the range of float32."""


class Section(BaseModel):
    """A section of the configuration.

    Unknown keys are errors, and values never change after loading.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Named(BaseModel):
    """Something from a catalogue: its name, and beside it its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def params(self) -> dict[str, Any]:
        """The parameters, without the name."""
        return dict(self.model_extra or {})


class TaskShare(BaseModel):
    """A synthetic degradation: its share of the pairs, and its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)
    weight: Weight = 1.0

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the degradation, without the weight."""
        return dict(self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _weight_alone(cls, value: Any) -> Any:
        """`rain: 2.0` is short for `rain: {weight: 2.0}`."""
        return {"weight": value} if isinstance(value, int | float | str) else value


class PairedData(Section):
    """Real pairs.

    Two folders matched by name (`clean`, `degraded`), or a standard data set (`layout`, `root`). conditions: a folder for each
    extra condition of the network, with a file for each degraded image.
    """

    task: str
    weight: Weight = 1.0
    clean: Path | None = None
    degraded: Path | None = None
    layout: str | None = None
    root: Path | None = None
    conditions: dict[str, Path] = {}

    @model_validator(mode="after")
    def _one_of_both(self) -> "PairedData":
        given = [key for key in ("clean", "degraded", "layout", "root") if getattr(self, key) is not None]
        if given not in (["clean", "degraded"], ["layout", "root"]):
            raise ValueError(f"give clean and degraded, or layout and root, got {' and '.join(given) or 'neither'}")
        return self


class DataConfig(Section):
    """The sources of the training and validation pairs.

    clean: folder of clean images, or several, degraded on the fly by `tasks`. holdout: so many of them, evenly spaced, are kept
    out of training and validated on, unless `validation` names a folder of clean images or `validation_pairs` real
    pairs. cache_gigabytes: decoded images are kept in memory up to this size. workers: processes that prepare pairs.
    check_pairs: look for real pairs whose images do not belong together, and name them. conditions, validation_conditions: a
    folder for each extra condition of the network, with a file for each image of `clean` and of `validation`; a number with
    the name of a parameter of the task is drawn from its range instead.
    """

    clean: Path | list[Path] | None = None
    tasks: dict[str, TaskShare] = {}
    pairs: list[PairedData] = []
    patch: Side = 128
    margin: Annotated[int, Field(ge=0, le=2**12)] = 0
    quantise: bool = True
    holdout: NotNegative = 0
    validation: Path | None = None
    validation_pairs: list[PairedData] = []
    validation_count: Positive = 8
    validation_size: Side = 256
    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    cache_gigabytes: Annotated[float, Field(ge=0, le=1e6)] = 4.0
    check_pairs: bool = True
    conditions: dict[str, Path] = {}
    validation_conditions: dict[str, Path] = {}

    @model_validator(mode="after")
    def _something_to_train_on(self) -> "DataConfig":
        if not self.pairs and not (self.clean and self.tasks):
            raise ValueError("give clean and tasks, or pairs, or both")
        if self.tasks and not self.clean:
            raise ValueError("tasks need a folder of clean images: clean")
        if self.conditions and isinstance(self.clean, list):
            raise ValueError("conditions go by the names of images, so clean must be one folder")
        if sum(task.weight for task in self.tasks.values()) + sum(pair.weight for pair in self.pairs) <= 0:
            raise ValueError("all weights are 0")
        return self


class StatesConfig(Section):
    """Times and states that the network is trained at.

    See `rebridge.training.timesteps`.

    Attributes:
        end_fraction: share of the samples at t = 1, where restoring begins.
        rollout_fraction: share of the others at self-generated states, which a sampler reaches from the network's own estimates.
        rollout_noise: how a rollout leaves a pinned end, "mean" or "noise".
        rollout_steps: most steps of a rollout.
        rollout_again: share of the pairs trained once more in the same iteration, at a self-generated state.
        times: "uniform" in t; "grid", the times i/grid; "uniform-in-weight", uniform in what the state leaves to the network;
            "log-noise", uniform in the logarithm of the noise beside the image and an eighth of the samples beyond, for
            generative processes only.
        grid: steps of the grid.
        noise: least and greatest standard deviation of the noise of "log-noise", in levels of an 8-bit image.
        condition_dropout: share of the samples trained without y (y = 0), so that one network is a prior with and without
            condition; for generative processes (vp, ve, rectified-flow) only.
    """

    end_fraction: Fraction = 0.5
    rollout_fraction: Fraction = 0.0
    rollout_noise: Literal["mean", "noise"] = "mean"
    rollout_steps: Annotated[int, Field(ge=1, le=1000)] = 1
    rollout_again: Fraction = 0.0
    times: Literal["uniform", "grid", "uniform-in-weight", "log-noise"] = "uniform"
    grid: Annotated[int, Field(ge=2, le=10**6)] = 10
    noise: tuple[NoiseLevel, NoiseLevel] = (2.0, 120.0)
    condition_dropout: Fraction = 0.0

    OLD_KEYS: ClassVar[dict[str, str]] = {
        "own_fraction": "rollout_fraction",
        "own_noise": "rollout_noise",
        "own_steps": "rollout_steps",
        "own_again": "rollout_again",
    }

    @model_validator(mode="after")
    def _noise_in_order(self) -> "StatesConfig":
        if self.noise[0] >= self.noise[1]:
            raise ValueError(f"noise: the least level comes first, got {self.noise[0]:g} and {self.noise[1]:g}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, tree: Any) -> Any:
        """Read the keys and values of earlier releases, with one warning."""
        if not isinstance(tree, dict):
            return tree
        renamed = {old: new for old, new in cls.OLD_KEYS.items() if old in tree}
        changed = {renamed.get(key, key): value for key, value in tree.items()}
        if changed.get("times") == "trust":
            changed["times"], renamed["times: trust"] = "uniform-in-weight", "times: uniform-in-weight"
        if renamed:
            pairs = ", ".join(f"{old} is now {new}" for old, new in renamed.items())
            warnings.warn(f"states: {pairs}", DeprecationWarning, stacklevel=2)
        return changed


class LossConfig(Section):
    """The loss of a denoiser.

    weight * kind + frequency * (mean size of the error's Fourier coefficients) + guide * (cross-entropy of the classifier).

    Attributes:
        kind: distance between prediction and target, a name of `rebridge.training.LOSSES`. "psnr" is the logarithm of each
            image's mean squared error (arXiv 2204.04676): degradations that leave large errors do not outweigh the others.
        on: what is compared: the clean image (x0), the network's raw output, or the next reverse step (step: the objective of
            IR-SDE and GOUB, for bridges with noise).
        weight: of that distance.
        frequency: weight of the frequency distance. Unlike a distance between pixels, it counts a wrong brightness of the whole
            image as one coefficient among many, so an uncertain brightness (low light, haze) does not drown what is learned of
            detail (arXiv 2108.05054, who add it to L1).
        weighting: of the samples by their time: "none", "ddbm" (1/c_out^2, arXiv 2309.16948) or "posterior" (that of the
            variational bound, ResShift's; see `rebridge.training.weights`).
        guide: weight of the degradation classifier's cross-entropy, for networks with `kinds`; the classes are the data's tasks.
    """

    kind: str = "l1"
    on: Literal["x0", "output", "step"] = "x0"
    weighting: Literal["none", "ddbm", "posterior"] = "none"
    weight: Weight = 1.0
    frequency: Weight = 0.0
    guide: Weight = 0.0

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        check_name("loss", kind, LOSSES)
        return kind

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.weight + self.frequency <= 0:
            raise ValueError("weight and frequency are both 0, so nothing is left to learn")
        return self


class AdamConfig(Section):
    """AdamW with linear warm-up, then a constant learning rate.

    One iteration is one step of the optimiser.

    batch: pairs per process and pass; an iteration sees batch * accumulate * processes pairs.
    """

    iterations: Positive = 100_000
    batch: Count = 16
    accumulate: Count = 1
    lr: Rate = 2e-4
    warmup: NotNegative = 500
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.99)
    eps: Rate = 1e-8
    weight_decay: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    clip: Rate | None = 1.0

    def optimizer_of(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Make the optimiser of some parameters."""
        return in_one_kernel(torch.optim.AdamW, parameters, self.lr, self.betas, self.eps, self.weight_decay)

    def learning_rate(self, iteration: int) -> float:
        """The learning rate of iteration number `iteration`, from 0."""
        return self.lr * min(1.0, (iteration + 1) / max(self.warmup, 1))


class OptimisationConfig(AdamConfig):
    """An optimiser with a warm-up and a cosine, and an average of the weights.

    The learning rate stays at `lr` for `hold` iterations after the warm-up, and then falls to `lr_min`. ema_decay 0 is the
    last weights themselves.

    optimizer: "adamw", or "muon" for convolutions and AdamW for the rest, see `rebridge.training.muon`.
    """

    optimizer: Literal["adamw", "muon"] = "adamw"
    hold: NotNegative = 0
    lr_min: Annotated[float, Field(ge=0, le=1e38)] = 1e-6
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999

    def optimizer_of(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Make the optimiser of some parameters."""
        if self.optimizer == "adamw":
            return super().optimizer_of(parameters)
        return in_one_kernel(Muon, parameters, self.lr, self.betas, self.eps, self.weight_decay)

    def learning_rate(self, iteration: int) -> float:
        """The learning rate of iteration number `iteration`, from 0."""
        if iteration < self.warmup:
            return self.lr * (iteration + 1) / self.warmup
        begin = self.warmup + self.hold
        progress = max(iteration - begin, 0) / max(self.iterations - begin, 1)
        return self.lr_min + (self.lr - self.lr_min) * (1 + math.cos(math.pi * progress)) / 2


class Phase(Section):
    """A part of a run with a patch size and a batch of its own.

    iterations: of the part; the last part lasts to the end of the run. patch and batch: in place of `data.patch` and
    `optimisation.batch`.
    """

    iterations: Positive
    patch: Side
    batch: Count


class FitConfig(Section):
    """The settings of the training loop.

    Folders are relative to the working directory.

    Attributes:
        progressive: parts with a patch size and a batch of their own, such as ever larger patches (Restormer, arXiv 2111.09881).
        precision: fp32, or autocast in bf16 or fp16, the latter with a gradient scaler.
        sharding: of several processes: "none", each holds all weights (DDP), or "full", each holds a part of weights, gradients
            and optimiser (FSDP), but not with the optimizer muon. Checkpoints are the same, so a run goes on with either.
        trackers: where metrics are shown beside log.jsonl: "tensorboard", "wandb" (offline unless WANDB_MODE says otherwise).
        keep_checkpoints: so many of the newest ones; the best weights are kept beside them.
        export: which weights become the result, the "last" or the "best" by validation.
    """

    PROBLEM: ClassVar[tuple[str, ...]] = ("seed", "progressive")
    """Settings, or groups of them, that a resumed run must share with its checkpoint."""
    BESIDE: ClassVar[tuple[str, ...]] = ()
    """Settings in those groups that may change."""

    optimisation: AdamConfig = AdamConfig()
    progressive: tuple[Phase, ...] = ()
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    device: Literal["auto", "cpu"] = "auto"
    sharding: Literal["none", "full"] = "none"
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ("tensorboard",)
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    output: Path
    log_every: Positive = 50
    validate_every: Positive = 2000
    checkpoint_every: Positive = 1000
    keep_checkpoints: Positive = 3
    export: Literal["last", "best"] = "last"

    def batch(self, iteration: int) -> int:
        """Samples of a process in one pass of iteration number `iteration`, from 0."""
        end = 0
        for phase in self.progressive:
            end += phase.iterations
            if iteration < end:
                return phase.batch
        return self.progressive[-1].batch if self.progressive else self.optimisation.batch


class SpaceConfig(Section):
    """The space that a bridge is trained in.

    Attributes:
        autoencoder: folder of one, see `rebridge.models.autoencoders.load_autoencoder`; the bridge runs in its latents.
    """

    autoencoder: Path


class RunConfig(FitConfig):
    """The settings of a run from a file: those of the loop, and the data."""

    PROBLEM: ClassVar[tuple[str, ...]] = (*FitConfig.PROBLEM, "data")
    BESIDE: ClassVar[tuple[str, ...]] = tuple(
        f"data.{key}"
        for key in (
            "validation_pairs",
            "validation_count",
            "validation_size",
            "workers",
            "cache_gigabytes",
            "check_pairs",
            "validation_conditions",
        )
    )

    data: DataConfig

    @property
    def channels(self) -> int:
        """Channels of the images that the method trains on."""
        return 3

    @property
    def declared(self) -> dict[str, Condition]:
        """Extra conditions of the network that the method trains."""
        return {}

    @model_validator(mode="after")
    def _something_to_choose_by(self) -> Self:
        data = self.data
        held_out = data.validation_pairs or (data.tasks and (data.holdout or data.validation))
        if self.export == "best" and not (held_out and data.validation_count):
            raise ValueError("export: the best weights are found by validation, so give images to validate on")
        return self


def learning_rate(iteration: int, config: OptimisationConfig) -> float:
    """The learning rate of iteration number `iteration`, from 0.

    Linear warm-up, then a cosine to `lr_min`.
    """
    return config.learning_rate(iteration)
