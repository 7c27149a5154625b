"""IRBridge without `--task`: each picture's is found, or the picture refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from rebridge.commands.findings import found_words, kind_words
from rebridge.commands.opening import Opened, preset_settings
from rebridge.commands.options import DEFAULT_MODELS, RestoreOptions
from rebridge.images import Image
from rebridge.models import load_model
from rebridge.networks.holes import holes
from rebridge.restoration import Restorer
from rebridge.restoration.filling import INPAINT

LEAST_MISSING = 1e-3
"""Share of middle-grey pixels from which a picture counts as one with holes."""


class TaskFinder:
    """Finds which task of a prior a picture needs.

    The prior is opened for each task once.

    Args:
        options: of the command; their task is not used.
        opened: the prior, opened without a task.
    """

    def __init__(self, options: RestoreOptions, opened: Opened) -> None:
        self._options = options
        self._opened = opened
        self._by_task: dict[str, Opened] = {}
        self.tasks: Sequence[str] = opened.restorer.model.tasks

    @staticmethod
    def needed(options: RestoreOptions, opened: Opened) -> bool:
        """Test if a task is to be found.

        None was named, and a prior in pixels that knows several sees the degraded picture.
        """
        model = opened.restorer.model
        seen = model.info.conditional and len(model.tasks) > 1
        return options.method == "irbridge" and options.task is None and seen and model.space.scale == 1

    def __call__(self, image: Image) -> tuple[str, Opened]:
        """Find the task of a picture: its name, and the prior with the settings for it.

        Raises:
            ValueError: nothing that the prior knows is found with certainty.
        """
        task = self.find(image)
        if task not in self._by_task:
            model, settings = self._opened.restorer.model, preset_settings(self._options)
            restorer = Restorer.from_preset(model, self._options.preset, task, **settings)
            self._by_task[task] = replace(self._opened, restorer=restorer)
        return task, self._by_task[task]

    def find(self, image: Image) -> str:
        """Name the task of a picture; ValueError where none is certain."""
        missing = holes(2 * image.pixels[None, :3].float() - 1).float().mean().item()
        if INPAINT in self.tasks and missing > LEAST_MISSING:
            return INPAINT
        findings = self._judge.examine(image)
        known = [one.kind for one in findings if one.treated > 0 and one.kind in self.tasks]
        if known:
            return known[0]
        names = ", ".join(kind_words(task) for task in self.tasks)
        raise ValueError(
            f"found {found_words(findings)}; nothing that {self._opened.name} knows ({names}) is certain: name it by --task"
        )

    @cached_property
    def _judge(self) -> Restorer:
        return Restorer(load_model(DEFAULT_MODELS["bridge"]))
