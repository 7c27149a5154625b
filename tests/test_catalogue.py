"""Catalogues: creation, parameters, texts, registration, and one sentence for every mistake."""

import importlib.metadata
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rebridge import bridges, degradations, inverse, networks, samplers
from rebridge.bridges.catalogue import BRIDGES
from rebridge.catalogue import Catalogue, Spec, load_extension, value_of


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of two parameters.

    More about it.
    """

    size: int = 1
    name: str | None = None


def built(shape: tuple[int, int], weight: float, flag: bool = False) -> tuple[Any, ...]:
    """Build a tuple."""
    return (shape, weight, flag)


@pytest.fixture
def parts() -> Catalogue[Any]:
    return Catalogue("part", {"a": Part, "big": partial(Part, size=9), "built": built}, fixed=("shape",))


def test_parts_are_made_described_and_parsed(parts: Catalogue[Any]) -> None:
    assert parts.names() == ["a", "big", "built"]
    assert parts.create("a", size=3) == Part(size=3)
    assert parts.create("big", name="x") == Part(size=9, name="x")
    assert parts.create("built", (1, 2), weight=2) == ((1, 2), 2, False)
    assert parts.parameters("a") == {"size": 1, "name": None}
    assert parts.parameters("big") == {"name": None}
    assert parts.parameters("built") == {"weight": None, "flag": False}
    assert parts.summary("a") == parts.summary("big") == "A part of two parameters."
    assert parts.parse("a:size=4,name=b") == Part(size=4, name="b")
    assert parts.parse("a:size=4", size=1, name="c") == Part(size=4, name="c")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda parts: parts.create("c"), "unknown part 'c'; known are a, big, built"),
        (lambda parts: parts.create("a", sise=2), "part 'a' has no parameter 'sise'; it takes size, name"),
        (lambda parts: parts.create("a", size="2"), "part 'a' takes a whole number as size, got '2'"),
        (lambda parts: parts.create("a", size=True), "part 'a' takes a whole number as size, got True"),
        (lambda parts: parts.create("a", name=2), "part 'a' takes a word as name, got 2"),
        (lambda parts: parts.create("big", size=2), "part 'big' has no parameter 'size'"),
        (lambda parts: parts.create("built", (1, 2)), "part 'built' needs weight, which can be given in Python only"),
        (lambda parts: parts.parse("a:size"), "'a:size' is not of the form name:key=value"),
        (lambda parts: parts.register("a", Part), "the part 'a' is rebridge's own"),
        (lambda parts: parts.register("a:b", Part), "a name must be a word"),
        (lambda parts: parts.unregister("a"), "no part 'a' was registered"),
    ],
)
def test_mistakes_give_one_sentence(parts: Catalogue[Any], call: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call(parts)


def test_parts_are_registered_and_taken_out(parts: Catalogue[Any]) -> None:
    @parts.register("mine")
    @dataclass(frozen=True)
    class Mine:
        """My own part."""

        depth: int = 2

    assert parts.create("mine", depth=3) == Mine(3)
    assert "mine" in parts
    assert parts.summary("mine") == "My own part."
    parts.unregister("mine")
    assert "mine" not in parts


def test_values_of_texts_are_what_they_look_like() -> None:
    texts = {"3": 3, "1e-3": 1e-3, "true": True, "False": False, "none": None, "mean": "mean"}
    assert {text: value_of(text) for text in texts} == texts
    spec = Spec.parse("dbim:eta=1,start=mean")
    assert (spec.name, spec.params) == ("dbim", {"eta": 1, "start": "mean"})


@pytest.mark.parametrize("package", [bridges, samplers, networks, degradations, inverse, inverse.operators])
def test_every_catalogue_describes_all_it_has(package: Any) -> None:
    for name in package.names():
        assert package.parameters(name) is not None
        assert len(package.summary(name)) > 5


@pytest.mark.parametrize("package", [bridges, samplers, inverse])
def test_every_part_is_rebuilt_from_its_parameters(package: Any) -> None:
    for name in package.names():
        part = package.create(name)
        params = part.params if hasattr(part, "params") else {}
        assert package.create(name, **params) == part


def test_installed_packages_add_parts_by_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("wave", "tests.test_catalogue:Part", "rebridge.parts")
    asked: list[str] = []

    def offered(group: str) -> list[importlib.metadata.EntryPoint]:
        asked.append(group)
        return [point]

    monkeypatch.setattr(importlib.metadata, "entry_points", offered)
    catalogue: Catalogue[Any] = Catalogue("part", {"a": Part})
    assert repr(catalogue.create("wave", size=7)) == repr(Part(size=7))
    assert catalogue.names() == ["a", "wave"]
    assert asked == ["rebridge.parts"]


def test_a_file_of_a_user_registers_parts(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import rebridge\nrebridge.bridges.register('wide', rebridge.bridges.catalogue.BRIDGES['goub'])\n")
    try:
        load_extension(file)
        assert bridges.create("wide", lam=0.5).params["lam"] == 0.5
    finally:
        if "wide" in BRIDGES:
            BRIDGES.unregister("wide")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(ValueError, match=r"broken.py cannot be imported: ZeroDivisionError"):
        load_extension(tmp_path / "broken.py")
    with pytest.raises(ValueError, match=r"missing.py: no such Python file"):
        load_extension(tmp_path / "missing.py")
    for name in ("no_such_module_here", "os.nothing", "..", "../x", ""):
        with pytest.raises(
            ValueError, match=f"^{re.escape(name)} cannot be imported: there is no such file or module$"
        ):
            load_extension(name)
    with pytest.raises(ValueError, match=r"~nobody-here/x.py: no such Python file"):
        load_extension("~nobody-here/x.py")
    (tmp_path / "needy.py").write_text("import no_such_module_here\n")
    with pytest.raises(
        ValueError, match=r"needy.py cannot be imported: it needs no_such_module_here, which is not installed"
    ):
        load_extension(tmp_path / "needy.py")


def test_ours_are_gone_through_before_others_are_looked_for(
    parts: Catalogue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def entry_points(group: str) -> list[Any]:
        asked.append(group)
        return []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    names = iter(parts)
    assert [next(names) for _ in range(3)] == ["a", "big", "built"]
    assert not asked
    assert list(names) == []
    assert asked == ["rebridge.parts"]
