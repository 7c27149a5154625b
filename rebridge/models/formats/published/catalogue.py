"""The published families by name, and the one call that converts their files.

`convert` reads the weights, finds out whose they are by a few of their names, and makes a `Converted` model; `build` makes its
network again, empty, from the configuration that a model folder keeps.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from rebridge.catalogue import GREATEST, Spec, check_greatest, check_name
from rebridge.models.formats.published import adm, bbdm, ddbm, ddpm, diffuir, hidiff, i2sb, irsde, rddm, resshift, vq
from rebridge.models.formats.published.base import PREFIX, Converted, Dialect, Family, Request
from rebridge.models.formats.published.errors import FormatError, UnknownFamilyError
from rebridge.models.formats.published.inert import first_line
from rebridge.models.formats.published.reading import StateDict, Weights, read_weights
from rebridge.models.formats.published.resemblance import resembling
from rebridge.models.formats.published.scanning import names_in

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        diffuir.DIFFUIR_FAMILY,
        rddm.RDDM_FAMILY,
        *irsde.IRSDE_FAMILIES,
        hidiff.HIDIFF_FAMILY,
        i2sb.I2SB_FAMILY,
        bbdm.BBDM_FAMILY,
        ddbm.DDBM_FAMILY,
        adm.ADM_FAMILY,
        ddpm.DDPM_FAMILY,
        resshift.RESSHIFT_FAMILY,
        vq.VQ_FAMILY,
    )
}
"""In the order in which "auto" tries them."""
AUTO = "auto"


def names() -> list[str]:
    """Names of all families."""
    return list(FAMILIES)


def convert(
    files: str | Path | Sequence[str | Path],
    family: str = AUTO,
    task: str | None = None,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> Converted:
    """Make a model of the library from a published checkpoint.

    Args:
        files: The authors' file, or all of them where a family has several (HI-Diff three, ResShift with its autoencoder two).
        family: One of `names`, or "auto" to go by the names of the weights; with options of the family also as a text such as
            "unidb:max_sigma=30" or "auto:head_width=64".
        task: One of the family's tasks, where the weights do not tell; by default the first.
        dtype: Type in which the weights are kept; others are cast one by one.
        **options: Further parameters of the family, such as max_sigma.

    Raises:
        FormatError: One sentence: a damaged or harmful file, another family, missing weights.
        ValueError: For an unknown family or option.
    """
    paths = [files] if isinstance(files, (str, Path)) else list(files)
    if not paths:
        raise ValueError("no files were given")
    asked = Spec.parse(family)
    if asked.name != AUTO:
        check_name("published family", asked.name, FAMILIES)
    weights = [_read(Path(path)) for path in paths]
    chosen = _choose(weights, asked.name)
    options = asked.params | options
    for option, value in options.items():
        if option not in chosen.options:
            known = ", ".join(chosen.options) or "none"
            raise ValueError(f"family {chosen.name!r} has no option {option!r}; it takes {known}")
        check_greatest(f"family {chosen.name!r}", option, value, GREATEST)
    label = " and ".join(file.source.name for file in weights)
    if task is not None and not chosen.tasks:
        raise FormatError(f"{label} looks like {chosen.title}, which was not published by tasks: leave {task!r} out")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # weights of no size are told below
            return chosen.convert(weights, Request(chosen.name, task, dtype, options))
    except ValueError as error:  # a FormatError too
        raise FormatError(f"{label} looks like {chosen.title}, but {error}") from None
    except KeyError as error:
        lacking = first_line(error)
        raise FormatError(
            f"{label} looks like {chosen.title}, but cannot be converted: {lacking} is missing or odd"
        ) from None
    except (IndexError, ZeroDivisionError, RuntimeError) as error:  # from weights whose sizes do not go together
        raise FormatError(
            f"{label} looks like {chosen.title}, but cannot be converted: one of its weights has an impossible size"
        ) from error


def build(config: Mapping[str, Any]) -> Dialect:
    """The dialect that `config` describes, with empty weights.

    Args:
        config: What `Converted.network.config` holds, {"name": "published/" and the family, **parameters}.

    Raises:
        ValueError: For an unknown family or parameters that do not fit it.
    """
    params = {key: value for key, value in config.items() if key != "name"}
    name = str(config.get("name")).removeprefix(PREFIX)
    check_name("published family", name, FAMILIES)
    try:
        network = FAMILIES[name].build(**params)
    except TypeError as error:
        raise ValueError(f"published family {name!r}: {error}") from None
    network.config = dict(config)
    return network


def _read(path: Path) -> Weights:
    """The weights of a file; where they cannot be read, the error says whose the file looks like."""
    try:
        return read_weights(path)
    except FormatError as error:
        likely = resembling([names_in(path)]) if path.is_file() else None
        if likely is None:
            raise
        title, phrase = FAMILIES[likely[0]].title, str(error).removeprefix(f"{path.name} ")
        raise FormatError(f"{path.name} looks like {title}, but {phrase}") from None


def _choose(weights: Sequence[Weights], family: str) -> Family:
    states = [file.state for file in weights]
    found = [known for known in FAMILIES.values() if _detects(known, states)]
    label = " and ".join(file.source.name for file in weights)
    if family != AUTO:
        if found and FAMILIES[family] not in found and not _is_lowlight_rddm(family, found):
            raise FormatError(f"{label} looks like {found[0].title}, not {FAMILIES[family].title}")
        return FAMILIES[family]
    if not found:
        likely = resembling(states)
        if likely is not None and likely[1]:
            title, lacking = FAMILIES[likely[0]].title, " and ".join(likely[1])
            raise UnknownFamilyError(f"{label} looks like {title}, but lacks {lacking}")
        some = ", ".join(list(states[0])[:3])
        raise UnknownFamilyError(f"{label} holds {len(states[0])} weights of no family known here, such as {some}")
    return found[0]


def _detects(family: Family, states: Sequence[StateDict]) -> bool:
    """Test if a family recognises some weights; one that misses a weight for it does not."""
    try:
        return family.detect(states)
    except FormatError:
        return False


def _is_lowlight_rddm(family: str, found: Sequence[Family]) -> bool:
    """Allow RDDM's model for dark images, which has one U-Net as DiffUIR has."""
    return family == "rddm" and found[0].name == "diffuir"
