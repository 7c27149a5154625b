"""The words and the shape of the package, read off its syntax trees: docstrings, private words, lengths, names."""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "rebridge"
FILES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
LONGEST_LINE = 80
LONGEST_FUNCTION = 60
LONGEST_FILE = 400
MOST_DEFAULTED_GETATTRS = 10
FRAGMENTS = ("Of", "What", "Whether", "Where", "How", "If", "Which")
"""First words that make a fragment of a sentence; a property may begin with "Whether"."""
PRIVATE_WORDS = {
    r"so manieth": "every `every` steps",
    r"own_again": "self-generated states (rollout)",
    r"own_posterior": "reverse_kernel",
    r"\b(?:prior|denoiser|network)s? (?:is|are|was|be) asked\b": "is evaluated",
    r"\bask(?:s|ing)? the (?:prior|denoiser|network)s?\b": "evaluate",
    r"\bcannot be had with\b": "cannot be combined with",
    r"\bwalks? (?:a|any|the|this|that) (?:bridge|prior|process)\b": "sample, follow",
    r"\btells? apart\b": "classify",
    r"\bclosed\(": "zero_init",
    r"\bprecise\(": "at_least_float32",
}
"""Words of this package alone, as regular expressions, with the field's words."""
SHARED_NAMES = {
    "__all__", "create", "names", "parameters", "summary", "parse", "register", "load", "detect", "check", "load_model",
    "recommended",
}  # fmt: skip
"""Names that modules of several packages define with one meaning: those of catalogues and formats."""
COMMANDS = ("cli/", "commands/")
"""Packages whose functions are called as the commands are, and as the library's functions that they call."""
OUTSIDE = {"_legacy.py", "_moved.py"}
"""Old import paths: their names stand for names elsewhere."""
OLD_KEYS = {"training/config.py": r"own_again"}
"""Keys of earlier configurations that are still read: the words in question, by file."""

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
Function = ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def tree(file: str) -> ast.Module:
    return ast.parse(FILES[file].read_text(encoding="utf-8"))


def public(name: str) -> bool:
    return not name.startswith("_")


def documented(file: str) -> Iterator[tuple[str, Documented]]:
    """The module, and all public classes and functions that are no parts of a function."""
    yield file, tree(file)

    def inside(body: list[ast.stmt], place: str) -> Iterator[tuple[str, Documented]]:
        for node in body:
            if isinstance(node, ast.ClassDef | Function) and public(node.name):
                yield f"{place}:{node.name}", node
                if isinstance(node, ast.ClassDef):
                    yield from inside(node.body, f"{place}:{node.name}")

    yield from inside(tree(file).body, file)


def decorations(node: Documented) -> set[str]:
    decorators = [] if isinstance(node, ast.Module) else node.decorator_list
    return {ast.unparse(decorator).split("(")[0].rsplit(".", 1)[-1] for decorator in decorators}


def inherits_its_text(file: str, place: str, node: Documented) -> bool:
    """A method may leave its documentation to the method that it overrides, and an overload to the function itself."""
    if isinstance(node, ast.FunctionDef) and "overload" in decorations(node):
        return True
    return isinstance(node, Function) and place.count(":") == 2 and node.name in methods_of_bases()


@functools.cache
def methods_of_bases() -> frozenset[str]:
    """Documented methods of any class, and `forward` of torch's modules."""
    found = {"forward"}
    for file in FILES:
        for place, node in documented(file):
            if isinstance(node, Function) and place.count(":") == 2 and ast.get_docstring(node):
                found.add(node.name)
    return frozenset(found)


def first_lines(file: str) -> Iterator[tuple[str, Documented, str]]:
    for place, node in documented(file):
        text = ast.get_docstring(node)
        if text:
            yield place, node, text.split("\n", 1)[0]


@pytest.mark.parametrize("file", FILES)
def test_everything_public_is_documented(file: str) -> None:
    missing = [
        place
        for place, node in documented(file)
        if not ast.get_docstring(node) and not inherits_its_text(file, place, node)
    ]
    assert not missing


@pytest.mark.parametrize("file", FILES)
def test_first_lines_are_short_and_no_fragments(file: str) -> None:
    wrong = []
    for place, node, line in first_lines(file):
        forbidden = {word for word in FRAGMENTS if line.split()[0].rstrip(",:;.") == word}
        if "property" in decorations(node) or "cached_property" in decorations(node):
            forbidden -= {"Whether"}
        if len(line) >= LONGEST_LINE or forbidden:
            wrong.append(f"{place}: {line}")
    assert not wrong


@pytest.mark.parametrize("file", [file for file in FILES if file not in OUTSIDE])
def test_no_private_words(file: str) -> None:
    lines = FILES[file].read_text(encoding="utf-8").splitlines()
    wrong = [
        f"line {number}: {line.strip()} (say: {better})"
        for number, line in enumerate(lines, 1)
        for word, better in PRIVATE_WORDS.items()
        if word != OLD_KEYS.get(file) and re.search(word, line)
    ]
    assert not wrong


@pytest.mark.parametrize("file", FILES)
def test_no_file_and_no_function_is_long(file: str) -> None:
    lines = FILES[file].read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LONGEST_FILE
    long = [
        f"{node.name}: {lines_of(node)} lines"
        for node in ast.walk(tree(file))
        if isinstance(node, Function) and lines_of(node) > LONGEST_FUNCTION
    ]
    assert not long


def lines_of(function: Function) -> int:
    """Lines of a function from its first decorator to its end, docstring and empty lines included."""
    first = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
    return (function.end_lineno or first) - first + 1


def test_attributes_are_declared_instead_of_asked_for() -> None:
    calls = [
        f"{file}:{node.lineno}"
        for file in FILES
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and len(node.args) == 3
    ]
    assert len(calls) <= MOST_DEFAULTED_GETATTRS, calls


def test_a_public_name_is_defined_in_one_module() -> None:
    places = defaultdict(set)
    for file in FILES:
        if file in OUTSIDE:
            continue
        for name in set(defined(tree(file))) - SHARED_NAMES:
            if not (file.startswith(COMMANDS) and name.islower()):
                places[name].add(file)
    assert not {name: sorted(files) for name, files in places.items() if len(files) > 1}


def defined(module: ast.Module) -> Iterator[str]:
    """Public names that a module's top level defines (not those it imports)."""
    for node in module.body:
        if isinstance(node, ast.ClassDef | Function):
            found = [node.name]
        elif isinstance(node, ast.Assign):
            found = [name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found = [node.target.id]
        else:
            found = []
        yield from filter(public, found)
