"""JSON of others: what Python's own parser reads is read, and what is beyond the limits gives a phrase at once."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebridge.images.documents import DEEPEST_JSON, LARGEST_JSON, parse_json, read_json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def sentence(call: Callable[[], object]) -> str | None:
    """The error of a call, or None where it has a result."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return None


@given(values)
def test_what_json_writes_is_read_back(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value


@given(st.text())
def test_any_text_is_a_value_or_a_phrase(text: str) -> None:
    said = sentence(lambda: parse_json(text))
    assert said is None or said.startswith("is not readable JSON: ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' stands twice"),
        ("[" * 100_000 + "]" * 100_000, "levels deep"),
        ('{"a":' * 100_000, "levels deep"),
        ("[" * (DEEPEST_JSON + 1) + "]" * (DEEPEST_JSON + 1), "levels deep"),
        ("9" * 5000, "limit"),
    ],
)
def test_what_is_beyond_the_limits_is_named(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        parse_json(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_brackets_in_strings_are_no_depth() -> None:
    assert parse_json(json.dumps(["[{" * 1000 + '\\"'])) == ["[{" * 1000 + '\\"']


def test_pipes_devices_and_large_files_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "large.json", "wb") as file:
        file.truncate(LARGEST_JSON + 1)
    for path, words in (
        (tmp_path / "pipe", "is a named pipe, not a JSON file"),
        (Path("/dev/zero"), "is a device, not a JSON file"),
        (tmp_path, "is a folder, not a JSON file|Is a directory"),
        (tmp_path / "large.json", "bytes are more than any JSON file"),
    ):
        with pytest.raises(ValueError, match=words):
            read_json(path)
