"""Training: a loop for any network and loss, and methods for files.

training.train_file("configs/rdbm-fast.yaml")                 # what `rebridge train` does
training.fit(task, config, data)                              # your own network, loss and data
for step in training.steps(task, config, data): ...           # the same, in your own loop
"""

from rebridge.training.checkpoints import CheckpointError
from rebridge.training.config import AdamConfig, FitConfig, OptimisationConfig, RunConfig, learning_rate
from rebridge.training.config_files import ConfigError
from rebridge.training.distances import LOSSES
from rebridge.training.ema import Ema
from rebridge.training.fit import Step, TrainingError, TrainResult, fit, steps
from rebridge.training.methods import METHODS, create, names, parameters, parse, register, summary
from rebridge.training.methods.bridge import TrainConfig
from rebridge.training.stages import load_config, load_stages, parse_config, train, train_file
from rebridge.training.task import Task, Trainable, Validation

__all__ = [
    "LOSSES",
    "METHODS",
    "AdamConfig",
    "CheckpointError",
    "ConfigError",
    "Ema",
    "FitConfig",
    "OptimisationConfig",
    "RunConfig",
    "Step",
    "Task",
    "TrainConfig",
    "TrainResult",
    "Trainable",
    "TrainingError",
    "Validation",
    "create",
    "fit",
    "learning_rate",
    "load_config",
    "load_stages",
    "names",
    "parameters",
    "parse",
    "parse_config",
    "register",
    "steps",
    "summary",
    "train",
    "train_file",
]
