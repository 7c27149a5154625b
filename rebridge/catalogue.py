"""Catalogues: one dictionary of names per kind of part, open to other packages.

Each catalogue's dictionary is written out by hand in its own package (`rebridge/samplers/catalogue.py` and its like). Other
packages add to it in one of three ways:

    rebridge.samplers.register("mine", MySampler)                    # in Python
    rebridge restore ... --import my.py                              # on the command line, where my.py registers
    [project.entry-points."rebridge.samplers"] mine = "pkg:MySampler"  # in an installed package
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import operator
import os
import sys
import types
import typing
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")
B = TypeVar("B", bound=Callable[..., Any])

PLAIN_TYPES: dict[str, tuple[tuple[str, ...], str]] = {
    "int": (("int",), "a whole number"),
    "float": (("int", "float"), "a number"),
    "bool": (("bool",), "true or false"),
    "str": (("str",), "a word"),
    "Tensor": (("Tensor",), "a tensor"),
    "NoneType": (("NoneType",), ""),
}
"""Types of parameters that are checked: names of the types of valid values, and how an error calls them."""


TYPE_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "list",
    "dict": "keys with values",
    "NoneType": "nothing",
}
"""Words for the types that YAML and JSON have."""

GREATEST = 1e6
"""Greatest size of a number among the parameters of our own parts, where a catalogue does not say another."""
GREATEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Spec:
    """A name with parameters, as written on a command line: "dbim:eta=1,order=1"."""

    text: str
    name: str
    params: dict[str, Any]

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read "name" or "name:key=value,key=value".

        Numbers, true, false and none are recognised.

        Raises:
            ValueError: the text has another form.
        """
        name, _, rest = text.partition(":")
        params: dict[str, Any] = {}
        for part in filter(None, rest.split(",")):
            key, equals, value = part.partition("=")
            if not (key and equals and value):
                raise ValueError(f"{text!r} is not of the form name:key=value,key=value")
            params[key.strip()] = value_of(value.strip())
        return cls(text, name.strip(), params)


class Catalogue(Generic[T]):
    """The parts of one kind, by name.

    Args:
        kind: what the names name, such as "bridge"; used in errors.
        entries: what builds each part: a class, a function or a `partial`, by name.
        fixed: parameters that the caller passes by position and that are not settings, such as "shape".
        greatest: greatest size of a parameter's numbers, by its name; other numbers are at most `GREATEST`.
        checked: False where the parts check all of their numbers themselves.
    """

    def __init__(
        self,
        kind: str,
        entries: Mapping[str, Callable[..., T]],
        fixed: Collection[str] = (),
        greatest: Mapping[str, float] | None = None,
        checked: bool = True,
    ) -> None:
        self.kind = kind
        self.checked = checked
        self.greatest = {"seed": GREATEST_SEED, **(greatest or {})}
        self.fixed = frozenset(fixed)
        self._entries: dict[str, Callable[..., T]] = dict(entries)
        self._own = tuple(entries)
        self._looked_outside = False

    def names(self) -> list[str]:
        """List all names, those of other packages last."""
        self._look_outside()
        return list(self._entries)

    def __iter__(self) -> Iterator[str]:
        """Yield all names; those of other packages are looked for only when ours are through."""
        known = list(self._entries)
        yield from known
        yield from (name for name in self.names() if name not in known)

    def __len__(self) -> int:
        return len(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self.names()

    def __getitem__(self, name: str) -> Callable[..., T]:
        """What builds the part of that name; ValueError for an unknown one."""
        if name not in self._entries:
            check_name(self.kind, name, self.names())
        return self._entries[name]

    def create(self, name: str, /, *fixed: Any, **params: Any) -> T:
        """Build the part of that name.

        Args:
            name: of the catalogue.
            fixed: what the kind needs besides its settings, such as the shape of an operator's images.
            params: settings, each of them a parameter of what is built.

        Raises:
            ValueError: an unknown name or parameter, a missing one, or a value of the wrong type or out of range.
        """
        build = self[name]
        self.check(name, params)
        return build(*fixed, **params)

    def check(self, name: str, params: Mapping[str, Any]) -> None:
        """Raise ValueError for parameters that do not fit the named part.

        They are unknown, missing, of another type, or beyond all measure.
        """
        build, what = self[name], f"{self.kind} {name!r}"
        known = self._signature(build)
        check_parameters(what, params, known)
        for key, parameter in known.items():
            if key not in params and parameter.default is inspect.Parameter.empty:
                raise ValueError(f"{what} needs {key}, which can be given in Python only")
        hints = _hints(build)
        for key, value in params.items():
            check_value(what, key, value, hints.get(key))
            if self.checked and name in self._own:
                check_greatest(what, key, value, self.greatest.get(key, GREATEST))

    def parameters(self, name: str) -> dict[str, Any]:
        """Parameters of the named part with their defaults; None where there is none."""
        known = self._signature(self[name])
        empty = inspect.Parameter.empty
        return {key: None if value.default is empty else value.default for key, value in known.items()}

    def summary(self, name: str) -> str:
        """The first line of the documentation of the named part."""
        build = self[name]
        documented = build.func if isinstance(build, partial) else build
        return (inspect.getdoc(documented) or "").split("\n", 1)[0]

    def parse(self, text: str, /, **params: Any) -> T:
        """Build what a text such as "dbim:eta=1,order=1" describes.

        Values of the text win over `params`.
        """
        spec = Spec.parse(text)
        return self.create(spec.name, **{**params, **spec.params})

    @overload
    def register(self, name: str, build: None = None) -> Callable[[B], B]: ...

    @overload
    def register(self, name: str, build: B) -> B: ...

    def register(self, name: str, build: Any = None) -> Any:
        """Add a part: `register("mine", Mine)`, or `@register("mine")` above it.

        Raises:
            ValueError: rebridge itself has that name, or the name holds a sign that texts use (":", "=", "," or a space).
        """
        if build is None:
            return partial(self.register, name)
        if not name or any(sign in name for sign in ":=, "):
            raise ValueError(f"a name must be a word without ':', '=', ',' and spaces, got {name!r}")
        if name in self._own:
            raise ValueError(f"the {self.kind} {name!r} is rebridge's own: choose another name")
        self._entries[name] = build
        return build

    def __setitem__(self, name: str, build: Callable[..., T]) -> None:
        """Same as `register`."""
        self.register(name, build)

    def unregister(self, name: str) -> None:
        """Take a registered part out again; ValueError for any other name."""
        if name in self._own or name not in self._entries:
            raise ValueError(f"no {self.kind} {name!r} was registered")
        del self._entries[name]

    def _signature(self, build: Callable[..., T]) -> dict[str, inspect.Parameter]:
        set_already = set(build.keywords) if isinstance(build, partial) else set()
        return {
            key: parameter
            for key, parameter in inspect.signature(build).parameters.items()
            if key not in self.fixed | set_already
        }

    def _look_outside(self) -> None:
        """Add what installed packages offer under the entry points `rebridge.<kind>s`, once."""
        if self._looked_outside:
            return
        self._looked_outside = True
        from importlib.metadata import entry_points

        plural = self.kind.replace(" ", "-") + ("es" if self.kind.endswith("s") else "s")
        for point in entry_points(group=f"rebridge.{plural}"):
            if point.name not in self._entries:
                self._entries[point.name] = point.load()


def load_extension(source: str | Path) -> types.ModuleType:
    """Import a Python file, or a module by its name, that registers parts.

    Raises:
        ValueError: there is no such file or module, or it cannot be imported; one sentence with the reason.
    """
    path = Path(os.path.expanduser(source))
    try:
        if path.suffix == ".py" or path.is_file():
            name = f"rebridge_extension_{path.stem}"
            spec = importlib.util.spec_from_file_location(name, path)
            if spec is None or spec.loader is None or not path.is_file():
                raise ValueError(f"{path}: no such Python file")
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)
            return module
        if not str(source) or str(source).startswith("."):
            raise ValueError(f"{source} cannot be imported: there is no such file or module")
        return importlib.import_module(str(source))
    except ValueError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and f"{source}.".startswith(f"{error.name}."):
            raise ValueError(f"{source} cannot be imported: there is no such file or module") from None
        raise ValueError(f"{source} cannot be imported: it needs {error.name}, which is not installed") from error
    except Exception as error:  # whatever a user's file raises while it is imported
        raise ValueError(f"{source} cannot be imported: {type(error).__name__}: {error}") from error


def check_name(kind: str, name: str, known: Collection[str]) -> None:
    """Raise ValueError unless `name` is known; kind: what it names, such as "bridge"."""
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}; known are {', '.join(known) or 'none'}")


def check_parameters(what: str, given: Iterable[str], taken: Collection[str]) -> None:
    """Raise ValueError unless all given parameters are among those taken.

    what: whose parameters they are, such as "bridge 'goub'".
    """
    for key in given:
        if key not in taken:
            raise ValueError(f"{what} has no parameter {key!r}; it takes {', '.join(taken) or 'none'}")


def check_value(what: str, key: str, value: Any, hint: Any) -> None:
    """Raise ValueError for a value that is not of its parameter's type.

    Types that are not made of `PLAIN_TYPES` are not checked.
    """
    parts = (
        typing.get_args(hint)
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        else (hint,)
    )
    names = [part.__name__ if isinstance(part, type) else "" for part in parts]
    if not all(name in PLAIN_TYPES for name in names):
        return
    allowed = {kind for name in names for kind in PLAIN_TYPES[name][0]}
    if type(value).__name__ not in allowed:
        wanted = " or ".join(PLAIN_TYPES[name][1] for name in names if PLAIN_TYPES[name][1])
        raise ValueError(f"{what} takes {wanted} as {key}, got {shortened(value)}")


def check_greatest(what: str, key: str, value: Any, greatest: float) -> None:
    """Raise ValueError for numbers that are not finite or beyond any use.

    Those inside lists count too.

    What a part allows within that is for the part to say.
    """
    if isinstance(value, list | tuple):
        if len(value) > GREATEST:
            raise ValueError(f"{what} takes at most {GREATEST:.0f} numbers as {key}, got {len(value)}")
        for part in value:
            check_greatest(what, key, part, greatest)
    elif isinstance(value, int | float) and not abs(value) <= greatest:
        finite = isinstance(value, int) or math.isfinite(value)
        wanted = f"at most {greatest:.15g}" if finite else "a finite number"
        raise ValueError(f"{what} takes {wanted} as {key}, got {shortened(value)}")


def whole_number(key: str, value: Any) -> int:
    """Read a whole number of any type, also one of numpy's.

    Raises:
        ValueError: anything else; the sentence names the key.
    """
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):  # those of arrays and tensors that hold no single number
        raise ValueError(f"{key} must be a whole number, got {shortened(value)}") from None


def type_in_words(value: Any) -> str:
    """Name the kind of a value from a YAML or JSON file in words."""
    return TYPE_WORDS.get(type(value).__name__, "something else")


def shortened(value: Any, longest: int = 60) -> str:
    """Write a value for an error, cut where it is long."""
    digits = isinstance(value, int) and value.bit_length() > 200
    text = f"a number of {value.bit_length()} bits" if digits else repr(value)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def value_of(text: str) -> Any:
    """Read a value of a command line: true, false, none, a number, or text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lower() in ("none", "null"):
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _hints(build: Callable[..., Any]) -> dict[str, Any]:
    """Types of the parameters of what is built; empty where they cannot be resolved."""
    target = build.func if isinstance(build, partial) else build
    return _types(target) if isinstance(target, Hashable) else _types.__wrapped__(target)


@lru_cache(maxsize=512)
def _types(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        if isinstance(target, type) and not hasattr(target, "__dataclass_fields__"):
            return typing.get_type_hints(vars(target).get("__init__", target))
        return typing.get_type_hints(target)
    except (NameError, TypeError, AttributeError):
        return {}
