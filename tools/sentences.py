"""Words that no user should read: what Python and its libraries say of programs, where our own words are missing."""

import re

FOREIGN = re.compile(
    r"has no attribute|has no len\(\)|object is not|NoneType|subscriptable|unsupported operand|instances of '|argument of type"
    r"|positional argument|keyword argument|index out of range|out of bounds|invalid literal|to unpack|unhashable"
    r"|could not convert|can't convert|Expected all tensors|shape '\[|size of tensor|cannot reshape|codec can't"
    r"|<class '|<built-in|object at 0x|must be (str|bytes|a string|a real number), not|instance of \w+Config"
    r"|valid (dictionary|tuple)|json-or-python|not implemented for '|enforce fail|<tifffile|Traceback \(most recent"
    r"|\b(Attribute|Type|Key|Index|Name|Assertion|Recursion|ZeroDivision|Runtime|NotImplemented)Error\b"
)


def foreign_words(text: str) -> str | None:
    """The first words of a text that are Python's own, with what stands around them, or None."""
    found = FOREIGN.search(text)
    return None if found is None else " ".join(text[max(found.start() - 80, 0) : found.end() + 80].split())
