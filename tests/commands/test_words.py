"""Sentences of the command line: nothing in them moves a terminal, and what goes wrong is said in words."""

import errno
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebridge.commands.words import fault, printable, sentence_of


@given(st.text())
def test_nothing_in_a_name_moves_a_terminal_and_the_rest_stays(text: str) -> None:
    shown = printable(text)
    assert not [sign for sign in shown if unicodedata.category(sign) in ("Cc", "Zl", "Zp")]
    moved = [sign for sign in text if unicodedata.category(sign) in ("Cc", "Zl", "Zp")]
    assert shown != text or not moved
    assert shown.isascii() == text.isascii() or moved or any("\u200e" < sign < "\u2070" for sign in text)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\x1b[31mred.png", r"a\x1b[31mred.png"),
        ("two\nlines.png", r"two\nlines.png"),
        ("gnp.\u202egpj.exe", r"gnp.\u202egpj.exe"),
        ("family \U0001f468\u200d\U0001f469.png", "family \U0001f468\u200d\U0001f469.png"),
        ("\u5199\u3000\u00e9 [red].png", "\u5199\u3000\u00e9 [red].png"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_and_other_writing_is_left(name: str, shown: str) -> None:
    assert printable(name) == shown


def test_an_error_is_said_by_what_it_is() -> None:
    assert sentence_of(ValueError("two\n lines")) == "two lines"
    assert sentence_of(OSError(errno.ENOSPC, "No space left on device", "a.png")) == "a.png: No space left on device"
    assert fault(MemoryError()) == ("there is not enough memory", 2)
    sentence, code = fault(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 bytes"))
    assert (sentence, code) == ("there is not enough memory", 2)
    sentence, code = fault(KeyError("x"))
    assert code == 70
    assert "(KeyError: 'x')" in sentence
