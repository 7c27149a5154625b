"""The list of published checkpoints and the page about them agree with the families."""

import re
from pathlib import Path

import pytest

from rebridge.models.formats.published import FAMILIES
from rebridge.models.formats.published.checkpoints import PUBLISHED, Published

PAGE = (Path(__file__).parents[4] / "docs" / "published.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: entry.name)
def test_each_checkpoint_has_a_family_and_a_task_that_exist(entry: Published) -> None:
    family = FAMILIES[entry.family]
    assert entry.task == "" or entry.task in family.tasks
    assert entry.command.startswith("rebridge convert ")
    assert entry.where
    assert entry.licence


def test_names_of_checkpoints_are_distinct() -> None:
    assert len({entry.name for entry in PUBLISHED}) == len(PUBLISHED)


def test_the_page_has_a_row_for_every_family() -> None:
    named = {name for row in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)}
    assert named == set(FAMILIES)
