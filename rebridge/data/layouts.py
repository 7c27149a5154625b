"""Layouts of the standard data sets on disk.

Each leads from the folder of a data set, or of one split of it, to its pairs.

| name | what the given folder holds |
|---|---|
| rain13k, rain100h, rain100l | `input/`, `target/`; `rain/rain-1`, `norain/norain-1`; `rainy/rain-1`, `norain-1` |
| reside-sots, reside-its, reside-ots | `hazy/1400_1` (or `haze/`), `gt/1400` (or `clear/`): many hazy of one clean |
| snow100k | `synthetic/`, `gt/` |
| raindrop | `data/0_rain`, `gt/0_clean` |
| lol | `low/`, `high/`; or `Low/low00001`, `Normal/normal00001` (version 2) |
| gopro | `GOPR0372_07_00/blur/000047`, `GOPR0372_07_00/sharp/000047`; or `input/`, `target/` |
| hide | `test/test-close-ups/10fromGOPR`, `GT/10fromGOPR`; or `input/`, `target/` |
| realblur | `scene001/blur/blur_1`, `scene001/gt/gt_1`; or `input/`, `target/` |
| did, realrain-1k | `input/`, `target/` |
| gt-rain | `scene/name-R-000` many rainy of one clean `scene/name-C-000` |
| ve-lol-l | `low/low00690`, `high/normal00690` |
| csd | `Snow/`, `Gt/` |
| d-hazy | `NYU_Hazy/1_Hazy`, `NYU_GT/1_Image_`; `Middlebury_Hazy/`, `Middlebury_GT/` |
| nh-haze, dense-haze | `01_hazy`, `01_GT`; or `hazy/01_hazy`, `GT/01_GT` |
| poled | `LQ/`, `HQ/` |
| mef, npe, nhrw, snow100k-real | images only (`open_images`): there is no clean version |
| celeba-hq | images only (`open_images`): degrade them with the task `inpaint` or `sr8` |
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rebridge.catalogue import check_name
from rebridge.data.folders import IMAGE_SUFFIXES, ImageFolder, PairedFolder

Name = PurePosixPath


@dataclass(frozen=True)
class Variant:
    """One way in which a data set is found on disk.

    Attributes:
        degraded: glob pattern of the degraded images, relative to the root.
        clean: from the path of a degraded image, relative to the root and without suffix, to that of its clean image.
    """

    degraded: str
    clean: Callable[[Name], Name]


@dataclass(frozen=True)
class Layout:
    """A standard data set: its degradation, and the ways it is found on disk.

    Attributes:
        task: the degradation.
        variants: tried in order.
        crop_clean: the degraded images lack a border that the clean ones have.
    """

    task: str
    variants: tuple[Variant, ...]
    crop_clean: bool = False


def _folders(degraded: str, clean: str, rename: Callable[[str], str] = str) -> Variant:
    """Two folders side by side; `rename` turns the name of a degraded image into that of its clean one."""
    return Variant(f"{degraded}/**/*", lambda name: Name(clean) / rename(name.name))


def _before_underscore(name: str) -> str:
    return name.split("_")[0]


def _replacing(old: str, new: str) -> Callable[[str], str]:
    return lambda name: name.replace(old, new, 1)


def _first_clean(name: Name) -> Name:
    """GT-Rain's clean image of a rainy one: scene-R-017 belongs to scene-C-000."""
    return name.parent / f"{name.name.rpartition('-R-')[0]}-C-000"


_INPUT_TARGET = _folders("input", "target")
_RAIN = (
    _INPUT_TARGET,
    _folders("rain", "norain", _replacing("rain", "norain")),
    _folders("rainy", ".", _replacing("rain", "norain")),
)
_HAZE = tuple(
    _folders(degraded, clean, _before_underscore) for degraded in ("hazy", "haze") for clean in ("gt", "clear")
)

_NAMED_HAZE = (
    Variant("*_hazy.*", lambda name: name.parent / name.name.replace("_hazy", "_GT")),
    _folders("hazy", "GT", _replacing("_hazy", "_GT")),
)

LAYOUTS: dict[str, Layout] = {
    "rain13k": Layout("rain", _RAIN),
    "rain100h": Layout("rain", _RAIN),
    "rain100l": Layout("rain", _RAIN),
    "reside-sots": Layout("haze", _HAZE, crop_clean=True),
    "reside-its": Layout("haze", _HAZE, crop_clean=True),
    "reside-ots": Layout("haze", _HAZE),
    "snow100k": Layout("snow", (_folders("synthetic", "gt"),)),
    "raindrop": Layout("raindrop", (_folders("data", "gt", _replacing("_rain", "_clean")),)),
    "lol": Layout("lowlight", (_folders("low", "high"), _folders("Low", "Normal", _replacing("low", "normal")))),
    "gopro": Layout(
        "blur", (Variant("*/blur/*", lambda name: name.parent.parent / "sharp" / name.name), _INPUT_TARGET)
    ),
    "hide": Layout("blur", (Variant("test/**/*", lambda name: Name("GT") / name.name), _INPUT_TARGET)),
    "did": Layout("rain", (_INPUT_TARGET,)),
    "gt-rain": Layout("rain", (Variant("*/*-R-*", _first_clean),)),
    "realrain-1k": Layout("rain", (_INPUT_TARGET,)),
    "ve-lol-l": Layout("lowlight", (_folders("low", "high", _replacing("low", "normal")),)),
    "csd": Layout("snow", (_folders("Snow", "Gt"),)),
    "d-hazy": Layout(
        "haze",
        (
            _folders("NYU_Hazy", "NYU_GT", _replacing("_Hazy", "_Image_")),
            _folders("Middlebury_Hazy", "Middlebury_GT", _replacing("_Hazy", "_im0")),
        ),
    ),
    "nh-haze": Layout("haze", _NAMED_HAZE),
    "dense-haze": Layout("haze", _NAMED_HAZE),
    "poled": Layout("lowlight", (_folders("LQ", "HQ"),)),
    "realblur": Layout(
        "blur",
        (
            Variant("*/blur/*", lambda name: name.parent.parent / "gt" / name.name.replace("blur", "gt", 1)),
            _INPUT_TARGET,
        ),
    ),
}

IMAGE_LAYOUTS: dict[str, tuple[str, ...]] = {
    "mef": ("MEF", "."),
    "npe": ("NPE", "."),
    "nhrw": ("NHRW", "."),
    "snow100k-real": ("realistic", "."),
    "celeba-hq": ("CelebA-HQ-img", "celeba_hq_256", "data256x256", "."),
}


def open_layout(name: str, root: str | Path, channels: int = 3) -> PairedFolder:
    """Open the pairs of a standard data set.

    Args:
        name: one of `LAYOUTS`.
        root: its folder.
        channels: of the images.

    Raises:
        ValueError: an unknown name, a folder that does not look like that data set, a degraded image without a clean one, or
            two that differ in size.
    """
    check_name("data set layout", name, LAYOUTS)
    root, layout = Path(root), LAYOUTS[name]
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder")
    for variant in layout.variants:
        degraded = sorted(path for path in root.glob(variant.degraded) if path.suffix.lower() in IMAGE_SUFFIXES)
        if degraded and _wanted(root, degraded[0], variant).parent.is_dir():
            return PairedFolder.of(_matched(root, degraded, variant), layout.crop_clean, channels)
    wanted = " or ".join(variant.degraded for variant in layout.variants)
    raise ValueError(f"{root} does not look like {name}: it has no images at {wanted} beside a folder of clean ones")


def open_images(name: str, root: str | Path) -> ImageFolder:
    """Open a standard data set that has no degraded images.

    Raises:
        ValueError: as in `open_layout`.
    """
    check_name("image data set", name, IMAGE_LAYOUTS)
    folders = [Path(root) / part for part in IMAGE_LAYOUTS[name]]
    return ImageFolder(next((folder for folder in folders if folder.is_dir()), Path(root)))


def _wanted(root: Path, degraded: Path, variant: Variant) -> Path:
    """Where the clean image of a degraded one should lie, without suffix."""
    return root / variant.clean(Name(degraded.relative_to(root).with_suffix("").as_posix()))


def _matched(root: Path, degraded: list[Path], variant: Variant) -> list[tuple[Path, Path]]:
    listings: dict[Path, dict[str, Path]] = {}
    pairs = []
    for path in degraded:
        wanted = _wanted(root, path, variant)
        if wanted.parent not in listings:
            listings[wanted.parent] = {
                file.stem: file for file in wanted.parent.glob("*") if file.suffix.lower() in IMAGE_SUFFIXES
            }
        if wanted.name not in listings[wanted.parent]:
            raise ValueError(f"{path} has no clean image: there is no {wanted}.*")
        pairs.append((listings[wanted.parent][wanted.name], path))
    return pairs
