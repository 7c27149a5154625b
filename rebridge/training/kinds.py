"""One command for every kind of training run: what the key `kind` of a configuration file means."""

from collections.abc import Sequence
from pathlib import Path

from rebridge.training.config import parse_config
from rebridge.training.loop import TrainResult
from rebridge.training.reading import ConfigError, parse_as, read_tree
from rebridge.training.trainer import train

KINDS = ("bridge", "controlnet")


def train_file(path: str | Path, overrides: Sequence[str] = (), resume: bool = False) -> TrainResult:
    """Train what a YAML file describes, with overrides such as `optimisation.lr=1e-3`.

    `kind: bridge` (the default) is a denoiser of a bridge or a pixel prior, see `TrainConfig`; `kind: controlnet` is
    the condition of a diffusers pipeline, see `ControlNetConfig`. Raises ConfigError, one sentence naming the key.
    """
    tree = read_tree(path, overrides)
    kind = tree.pop("kind", "bridge")
    if kind not in KINDS:
        raise ConfigError(f"{path}: kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if kind == "bridge":
        return train(parse_config(tree, str(path)), resume)
    # what a prior needs takes seconds to import, and packages that other runs do without
    from rebridge.training.controlnet import ControlNetConfig, train_controlnet

    return train_controlnet(parse_as(ControlNetConfig, tree, str(path)), resume)
