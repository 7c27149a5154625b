"""YAML of others: trees come back, and what is beyond the limits gives one sentence at once."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rebridge.images.yaml_files import LARGEST_YAML, parse_yaml
from rebridge.training import ConfigError
from rebridge.training.config_files import override, read_tree

letters = st.text("abcdefghijklm_", min_size=1, max_size=6)
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | letters,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(letters, inner, max_size=4),
    max_leaves=20,
)
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)


def sentence(call: Callable[[], object]) -> str | None:
    """The error of a call, or None where it has a result."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return None


@given(trees)
def test_trees_come_back(tree: Any) -> None:
    assert parse_yaml(yaml.safe_dump(tree)) == tree


@given(st.text("ab:-[]{}&*<>!?|#\n \t'\"0.", max_size=60))
def test_any_text_is_a_value_or_a_sentence(text: str) -> None:
    said = sentence(lambda: parse_yaml(text))
    assert "\n" not in (said or "")


def test_aliases_stand_for_what_they_name() -> None:
    assert parse_yaml("x: &a {b: 1}\ny: {<<: *a, c: 2}\nz: [*a, *a]")["y"] == {"b": 1, "c": 2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "stands for more than 100,000 values"),
        ("a: &a [*a]", "contains itself"),
        ("a: &a {b: {c: *a}}", "contains itself"),
        ("a: " + "[" * 3000 + "]" * 3000, "levels deep"),
        ("- " * 3000 + "1", "levels deep"),
        ("a: 1\nb: 2\na: 3", "the key 'a' stands twice"),
        ("g: {lr: 1, lr: 2}", "the key 'lr' stands twice"),
        ("a: " + "9" * 5000, "limit"),
        ("a: !!python/object/apply:os.mkdir [x]", "constructor"),
    ],
)
def test_what_is_beyond_the_limits_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        read_tree(path)
    assert str(caught.value).startswith(f"{path} is not YAML: ")
    assert "\n" not in str(caught.value)
    if "\n" not in text and text.startswith("a: "):
        with pytest.raises(ConfigError, match="the value of a is not YAML"):
            override({}, [f"a={text[3:]}"])


def test_pipes_and_large_files_are_refused_also_as_a_base(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "run.yaml").write_text("base: pipe.yaml")
    with pytest.raises(ConfigError, match=r"pipe\.yaml is a named pipe, not a YAML file"):
        read_tree(tmp_path / "run.yaml")
    (tmp_path / "large.yaml").write_text("a: 1\n" + "#" * LARGEST_YAML)
    with pytest.raises(ConfigError, match="bytes are more than any YAML file"):
        read_tree(tmp_path / "large.yaml")
