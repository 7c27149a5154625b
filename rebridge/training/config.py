"""The configuration of a training run: YAML, checked by pydantic, every error naming its key."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rebridge.training.reading import ConfigError, override, parse_as, read_tree

__all__ = ["ConfigError", "load_config", "override", "parse_config"]

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Named(BaseModel):
    """Something from a catalogue: its name, and beside it its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def params(self) -> dict[str, Any]:
        """The parameters, without the name."""
        return dict(self.model_extra or {})


class Task(BaseModel):
    """A synthetic degradation: its share of the training pairs, and beside it its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)
    weight: Annotated[float, Field(ge=0)] = 1.0

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
    """Real pairs: two folders matched by name (`clean`, `degraded`), or a standard data set (`layout`, `root`)."""

    task: str
    weight: Annotated[float, Field(ge=0)] = 1.0
    clean: Path | None = None
    degraded: Path | None = None
    layout: str | None = None
    root: Path | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "PairedData":
        given = [key for key in ("clean", "degraded", "layout", "root") if getattr(self, key) is not None]
        if given not in (["clean", "degraded"], ["layout", "root"]):
            raise ValueError(f"give clean and degraded, or layout and root, got {' and '.join(given) or 'neither'}")
        return self


class DataConfig(Section):
    """Where the training and validation pairs come from.

    clean: folder of clean images, degraded on the fly by `tasks`. holdout: so many of them, evenly spaced, are kept
    out of training and validated on, unless `validation` names a folder of clean images or `validation_pairs` real
    pairs. cache_gigabytes: decoded images are kept in memory up to this size. workers: processes that prepare pairs.
    """

    clean: Path | None = None
    tasks: dict[str, Task] = {}
    pairs: list[PairedData] = []
    patch: Positive = 128
    margin: NotNegative = 0
    quantise: bool = True
    holdout: NotNegative = 0
    validation: Path | None = None
    validation_pairs: list[PairedData] = []
    validation_count: Positive = 8
    validation_size: Positive = 256
    workers: NotNegative = 0
    cache_gigabytes: Annotated[float, Field(ge=0)] = 4.0

    @model_validator(mode="after")
    def _something_to_train_on(self) -> "DataConfig":
        if not self.pairs and (self.clean is None or not self.tasks):
            raise ValueError("give clean and tasks, or pairs, or both")
        if self.tasks and self.clean is None:
            raise ValueError("tasks need a folder of clean images: clean")
        if sum(task.weight for task in self.tasks.values()) + sum(pair.weight for pair in self.pairs) <= 0:
            raise ValueError("all weights are 0")
        return self


class StatesConfig(Section):
    """Which times and states the network is trained at; see `rebridge.training.states`.

    own_again: share of the pairs that are trained once more in the same iteration, at an own state; so the end loses nothing.
    times: "uniform" in t; "grid", the times i/grid; "trust", uniform in what the state leaves to the network, see
    `rebridge.training.states.times_of_trust`. condition_dropout: share of the samples that are trained without y (y = 0),
    so that one network is a prior with and without condition; for generative processes (vp, ve, rectified-flow) only.
    """

    end_fraction: Fraction = 0.5
    own_fraction: Fraction = 0.0
    own_noise: Literal["mean", "noise"] = "mean"
    own_steps: Positive = 1
    own_again: Fraction = 0.0
    times: Literal["uniform", "grid", "trust"] = "uniform"
    grid: Annotated[int, Field(ge=2)] = 10
    condition_dropout: Fraction = 0.0


class LossConfig(Section):
    """weight * kind + frequency * (mean size of the error's Fourier coefficients) + guide * (cross-entropy of the guide).

    kind is the distance between what the network says and what it should say: as a clean image (x0), as its raw output, or as
    the next reverse step (step: the objective of IR-SDE and GOUB, for bridges with noise). psnr is the logarithm of each image's
    mean squared error (NAFNet's loss, arXiv 2204.04676): degradations that leave large errors do not outweigh the others.
    frequency: unlike a distance between pixels, this one counts a wrong brightness of the whole image as one coefficient among
    many, so an uncertain brightness (low light, haze) does not drown what is learned of detail (arXiv 2108.05054, who add it
    to L1). guide: for networks with `kinds`, which then tell the tasks of the data apart.
    """

    kind: Literal["l1", "l2", "charbonnier", "psnr"] = "l1"
    on: Literal["x0", "output", "step"] = "x0"
    weight: Annotated[float, Field(ge=0)] = 1.0
    frequency: Annotated[float, Field(ge=0)] = 0.0
    guide: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.weight + self.frequency <= 0:
            raise ValueError("weight and frequency are both 0, so nothing is left to learn")
        return self


class PredictorConfig(Section):
    """Stochastic refinement: the bridge starts from the prediction g(y) of a second network instead of y.

    network: from the catalogue, used once at t = 1: g(y) = y + network(y, 1, y). joint: whether the bridge's own loss
    trains the predictor too, end to end (arXiv 2112.02475). weight: of the L1 distance between g(y) and x0 beside it; 0
    is the paper's training. start_from: a model folder or .safetensors file with the predictor's first weights.
    """

    network: Named = Named(name="fast")
    joint: bool = True
    weight: Annotated[float, Field(ge=0)] = 1.0
    start_from: Path | None = None

    @model_validator(mode="after")
    def _something_trains_it(self) -> "PredictorConfig":
        if not self.joint and self.weight == 0 and self.start_from is None:
            raise ValueError("nothing trains the predictor: set joint, a weight above 0, or start_from")
        return self


class LatentConfig(Section):
    """HI-Diff: stage 1 trains the transformer with the latent prior z of (clean, degraded), stage 2 its prediction from y.

    weight: of the L1 distance between the two z in stage 2, beside the L1 distance of the images. Stage 2 begins with
    stage 1's weights: start_from.
    """

    stage: Literal[1, 2]
    weight: Annotated[float, Field(ge=0)] = 1.0


class AdamConfig(Section):
    """AdamW with linear warm-up; one iteration is one step of the optimiser.

    batch: pairs per process and pass; an iteration sees batch * accumulate * processes pairs.
    """

    iterations: Positive = 100_000
    batch: Positive = 16
    accumulate: Positive = 1
    lr: Annotated[float, Field(gt=0)] = 2e-4
    warmup: NotNegative = 500
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.99)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Annotated[float, Field(gt=0)] | None = 1.0


class OptimisationConfig(AdamConfig):
    """After the warm-up a cosine from `lr` to `lr_min`; the weights that are kept are an average over iterations."""

    lr_min: Annotated[float, Field(ge=0)] = 1e-6
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999


class RunConfig(Section):
    """What every training run has. Folders are relative to the working directory."""

    data: DataConfig
    optimisation: AdamConfig = AdamConfig()
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    device: Literal["auto", "cpu"] = "auto"
    threads: Positive | None = None
    seed: NotNegative = 0
    output: Path
    log_every: Positive = 50
    validate_every: Positive = 2000
    checkpoint_every: Positive = 1000
    keep_checkpoints: Positive = 3


class TrainConfig(RunConfig):
    """A denoiser of a bridge, or a pixel prior; `load_config` reads it from YAML.

    objective: "bridge" trains at the times of `states`, "regression" at t = 1 only (plain one-step regression).
    start_from: a model folder or a .safetensors file whose weights training begins with, or several for parts of the network;
    what they lack begins untrained, and blocks that were added change nothing at first.
    residual_scale: typical size of x0 - y in the bridge's units, for prediction "preconditioned" under modulation one.
    predictor: start from a prediction instead of y. latent: train a network with a latent prior, such as hi-diff.
    """

    bridge: Named = Named(name="rdbm")
    network: Named = Named(name="fast")
    sampler: Named = Named.model_validate({"name": "dbim", "steps": 10})
    prediction: Literal["x0", "residual", "noise", "velocity", "preconditioned", "blend"] = "x0"
    objective: Literal["bridge", "regression"] = "bridge"
    residual_scale: Annotated[float, Field(gt=0)] = 1.0
    predictor: PredictorConfig | None = None
    latent: LatentConfig | None = None
    states: StatesConfig = StatesConfig()
    loss: LossConfig = LossConfig()
    optimisation: OptimisationConfig = OptimisationConfig()
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    channels_last: bool = False
    start_from: Path | tuple[Path, ...] | None = None

    @model_validator(mode="after")
    def _one_recipe(self) -> "TrainConfig":
        if self.predictor is not None and self.latent is not None:
            raise ValueError("give predictor or latent, not both")
        if self.latent is not None and self.prediction != "residual":
            raise ValueError(f"latent needs prediction residual, got {self.prediction}")
        if self.states.condition_dropout and (self.predictor or self.latent):
            raise ValueError("states.condition_dropout cannot be had with predictor or latent")
        return self

    @model_validator(mode="before")
    @classmethod
    def _default_names(cls, tree: Any) -> Any:
        """`bridge: {lam: 0.1}` is short for `bridge: {name: rdbm, lam: 0.1}`; likewise network and sampler."""
        if not isinstance(tree, dict):
            return tree
        defaults = {key: cls.model_fields[key].default.name for key in ("bridge", "network", "sampler")}
        named = {key: {"name": name} | tree[key] for key, name in defaults.items() if isinstance(tree.get(key), dict)}
        return tree | named


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a YAML file, apply overrides such as `optimisation.lr=1e-3`, and check the result.

    Raises ConfigError, one sentence naming the file and the key, for a file that cannot be read or is no YAML
    mapping, an override without "=", an unknown key or a value that does not fit.
    """
    return parse_config(read_tree(path, overrides), str(path))


def parse_config(tree: dict[str, Any], source: str = "configuration") -> TrainConfig:
    """Check a tree of settings; raises ConfigError, one sentence naming `source` and the first key in error."""
    return parse_as(TrainConfig, tree, source)
