"""Values that a file or a caller may hold where another was expected."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from tools.sentences import foreign_words

_WORDS = st.text(max_size=5)
_PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | _WORDS
VALUES = st.recursive(
    _PLAIN, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_WORDS, inner, max_size=2), max_leaves=4
)
"""What YAML and JSON can say, at random."""


def refusal(kind: type[Exception], call: Callable[[], object]) -> str | None:
    """Call; what a refusal says, which must be one sentence in words of ours, or None where nothing was refused."""
    try:
        call()
    except kind as error:
        sentence = str(error)
    else:
        return None
    assert "\n" not in sentence
    assert foreign_words(sentence) is None
    return sentence


def places(tree: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All keys of a tree of settings, groups included."""
    for key, value in tree.items():
        yield (*above, key)
        if isinstance(value, Mapping):
            yield from places(value, (*above, key))


def with_value(tree: Mapping[str, Any], place: tuple[str, ...], value: Any) -> Any:
    """A copy of a tree that holds another value at a place."""
    changed: MutableMapping[str, Any] = deepcopy(dict(tree))
    group = changed
    for key in place[:-1]:
        group = group[key]
    group[place[-1]] = value
    return changed
