"""Training: the configuration of a run, the trainer, checkpoints."""

from rebridge.training.checkpoints import CheckpointError
from rebridge.training.config import ConfigError, TrainConfig, load_config, parse_config
from rebridge.training.kinds import train_file
from rebridge.training.loop import TrainingError, TrainResult
from rebridge.training.trainer import learning_rate, train

__all__ = [
    "CheckpointError",
    "ConfigError",
    "TrainConfig",
    "TrainResult",
    "TrainingError",
    "learning_rate",
    "load_config",
    "parse_config",
    "train",
    "train_file",
]
