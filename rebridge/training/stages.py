"""Runs that a YAML file describes.

One, or several stages that build on one another.

    output: runs/mine
    network: {name: fast}                # what all stages share
    stages:
      - {name: first, optimisation: {iterations: 1000}}
      - {name: second, optimisation: {iterations: 500}}

A stage is the file's own settings with those of the stage on top, group by group. It writes into a folder of its own,
`runs/mine/first`, and begins with the weights of the stage before, unless it says `start_from: null` or names others:
`start_from: [first, runs/other/model]`. A stage with a `base` of its own takes that file's settings instead of the shared ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rebridge.training import checkpoints
from rebridge.training.config import RunConfig
from rebridge.training.config_files import ConfigError, merged, override, parse_as, read_tree
from rebridge.training.data import BatchIndices, training_pairs, validation_pairs
from rebridge.training.fit import StepCallback, TrainResult, fit
from rebridge.training.methods.bridge import TrainConfig
from rebridge.training.methods.catalogue import METHODS, config_of, method_of
from rebridge.training.runtime import Runtime


@dataclass(frozen=True)
class Stage:
    """One run of a file: its name, the training method and its settings.

    The name is "" in a file without stages.
    """

    name: str
    method: str
    config: RunConfig

    @property
    def result(self) -> Path:
        """The place of the run's result, once it is finished."""
        method: Any = METHODS[self.method]
        return self.config.output / str(method.result)

    @property
    def finished(self) -> bool:
        """True if a run has come to the end that the configuration names."""
        folders = checkpoints.checkpoint_folders(self.config.output)
        last = checkpoints.checkpoint_folder(self.config.output, self.config.optimisation.iterations)
        return self.result.exists() and folders[:1] == [last]


def train(config: RunConfig, resume: bool = False, callbacks: Sequence[StepCallback] = ()) -> TrainResult:
    """Train until `config.optimisation.iterations`.

    SIGTERM or Ctrl-C end a run earlier, after a last checkpoint.

    Writes checkpoints, `log.jsonl` and TensorBoard files into `config.output`, and in the end the result of the method, such
    as the model folder `model` with the averaged weights.

    Args:
        config: of `load_config`; its class says which method is used.
        resume: continue from the newest usable checkpoint in `config.output` (from the beginning where there is none).
        callbacks: called with each `Step`.

    Raises:
        ConfigError: a configuration that does not fit the data or the catalogues.
        CheckpointError: checkpoints that do not fit the configuration.
    """
    name = next((name for name in METHODS if config_of(name) is type(config)), None)
    if name is None:
        raise ConfigError(f"no training method has settings of the type {type(config).__name__}")
    method: Any = METHODS[name]
    method.check(config)
    runtime = Runtime(config)
    patches = BatchIndices.of(config, runtime.processes).patches() if config.progressive else ()
    pairs = training_pairs(config.data, config.seed, config.channels, patches, config.declared)
    held_out = validation_pairs(config.data, config.seed, config.channels, config.declared) if runtime.main else []
    task = METHODS.create(name, config, runtime.device, held_out)
    return fit(task, config, pairs, callbacks=callbacks, workers=config.data.workers, resume=resume)


def train_file(
    path: str | Path,
    overrides: Sequence[str] = (),
    resume: bool = False,
    stage: str | int | None = None,
    callbacks: Sequence[StepCallback] = (),
) -> TrainResult:
    """Train the stages of a YAML file in their order.

    A file without stages is one run.

    Args:
        path: the file.
        overrides: such as `optimisation.lr=1e-3`, for all stages; `stages.0.optimisation.lr=1e-3` for one.
        resume: go on where the last call stopped; stages that are finished are passed over.
        stage: train this one only, by name or by number from 1.
        callbacks: called with each `Step`.

    Returns:
        The result of the last stage that ran; its model is None where that was stopped.

    Raises:
        ConfigError: one sentence naming the key.
    """
    stages = load_stages(path, overrides)
    chosen = stages if stage is None else [_chosen(stages, stage, path)]
    result = None
    for place, one in enumerate(chosen):
        if resume and one.finished and len(stages) > 1 and place < len(chosen) - 1:
            continue
        result = train(one.config, resume, callbacks)
        if result.model is None:
            break
    assert result is not None  # a file has at least one stage
    return result


def load_stages(path: str | Path, overrides: Sequence[str] = ()) -> list[Stage]:
    """Read a YAML file and check the settings of every stage.

    A file without stages is one stage.

    Raises:
        ConfigError: one sentence naming the file and the key.
    """
    outer = [text for text in overrides if re.match(r"(stages|output)\b", text)]
    inner = [text for text in overrides if text not in outer]
    tree = read_tree(path, outer)
    parts = tree.pop("stages", None)
    if parts is None:
        return [_stage("", override(tree, inner), str(path))]
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
        raise ConfigError(f"{path}: stages must be a list of groups of settings, one a stage")
    if "output" not in tree:
        raise ConfigError(f"{path}: the key output is missing")
    output, stages, folders = Path(str(tree["output"])), [], dict[str, str]()
    for number, part in enumerate(parts, 1):
        name = str(part.get("name", number))
        source = f"{path}: stage {name}"
        if name in folders:
            raise ConfigError(f"{path}: two stages have the name {name}")
        shared = read_tree(Path(path).parent / str(part["base"])) if "base" in part else tree
        settings = merged(shared, {key: value for key, value in part.items() if key not in ("name", "base")})
        if "start_from" not in part and folders:
            settings["start_from"] = list(folders)[-1]
        settings["output"] = str(output / name)
        settings = override(_linked(settings, folders), inner)
        stages.append(_stage(name, settings, source))
        folders[name] = str(stages[-1].result)
    return stages


def load_config(path: str | Path, overrides: Sequence[str] = (), stage: str | int | None = None) -> Any:
    """Read and check the settings of a run from a YAML file.

    Args:
        path: the file.
        overrides: changes to the file.
        stage: which one of a file with several stages, by name or by number from 1.

    Returns:
        The settings of the training method, such as `TrainConfig`.

    Raises:
        ConfigError: one sentence naming the file and the key, for a file that cannot be read or is no YAML mapping, an
            override without "=", an unknown key or a value that does not fit.
    """
    stages = load_stages(path, overrides)
    if stage is not None:
        return _chosen(stages, stage, path).config
    if len(stages) > 1:
        raise ConfigError(f"{path} has several stages: name one of {', '.join(one.name for one in stages)}")
    return stages[0].config


def parse_config(tree: dict[str, Any], source: str = "configuration") -> Any:
    """Check a tree of settings.

    Raises ConfigError, one sentence naming `source` and the first key in error.
    """
    return _stage("", tree, source).config


def _stage(name: str, tree: dict[str, Any], source: str) -> Stage:
    method = method_of(tree, source)
    own = {key: value for key, value in tree.items() if key not in ("method", "kind")}
    # a section that is switched off, such as `predictor: null`, is none
    own = {key: value for key, value in own.items() if value is not None or key not in ("predictor", "latent")}
    return Stage(name, method, parse_as(config_of(method), own, source))


def _linked(settings: dict[str, Any], folders: dict[str, str]) -> dict[str, Any]:
    """Replace names of earlier stages in `start_from` by their results' folders."""
    linked = dict(settings)
    for key, value in settings.items():
        if isinstance(value, dict):
            linked[key] = _linked(value, folders)
        elif key == "start_from":
            several = isinstance(value, list)
            found = [folders.get(str(one), one) for one in (value if several else [value])]
            linked[key] = found if several else found[0]
    return linked


def _chosen(stages: list[Stage], stage: str | int, path: str | Path) -> Stage:
    by_name = {one.name: one for one in stages}
    by_number = {str(number): one for number, one in enumerate(stages, 1)}
    found = by_name.get(str(stage)) or by_number.get(str(stage))
    if found is None:
        names = ", ".join(by_name) if len(stages) > 1 else "none"
        raise ConfigError(f"{path} has no stage {stage!r}; its stages are {names}")
    return found


__all__ = ["Stage", "TrainConfig", "load_config", "load_stages", "parse_config", "train", "train_file"]
