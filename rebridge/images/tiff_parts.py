"""TIFF pictures larger than memory.

They are read in parts, and written row by row as tiled BigTIFF.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rebridge.images import orientation, tiff_samples, tiff_tags
from rebridge.images.atomic import written_whole
from rebridge.images.memory import give_back
from rebridge.images.raster import plausible_dpi
from rebridge.images.regular import irregular

TILE = 256
"""Side in pixels of the tiles that are written."""
_LARGEST_SEGMENT = 2**26
"""Most bytes of an unpacked segment that is read as a part."""
_CACHE = 2**27
"""Most bytes of unpacked segments that are kept, as neighbouring parts overlap."""
_READ_AT_ONCE = 2**27
"""Bytes of parts that are read before holes in the heap, which their segments leave, are given back to the system."""
_KINDS = {(1, 1), (2, 3)}
"""Photometric interpretation and channels of the pictures that are read in parts: grey and RGB."""


class Described(NamedTuple):
    """The metadata that goes along with a picture that is read in parts."""

    icc: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None


class TiffParts:
    """The picture of an open TIFF file, of which parts are read.

    Attributes:
        shape: (height, width, channels).
        bits: 8 or 16 per sample.
        described: metadata.
    """

    def __init__(self, page: Any, described: Described) -> None:
        self.plan = tiff_samples.layout(page)
        self.shape = (self.plan.height, self.plan.width, self.plan.channels)
        self.bits = self.plan.bits
        self.described = described
        self._page = page
        self._whole = np.asarray(page.asarray(out="memmap")) if page.is_memmappable else None
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._read = 0

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Read a part, (h, w, channels) of uint8 or uint16.

        Start and stop lie within the picture.

        Raises:
            ValueError: the file is damaged there.
        """
        if self._whole is not None:
            return np.array(self._whole.reshape(self.shape)[rows, columns])
        width, height = self.plan.tile
        result = np.empty((rows.stop - rows.start, columns.stop - columns.start, self.shape[2]), f"u{self.bits // 8}")
        for down in range(rows.start // height, -(-rows.stop // height)):
            for right in range(columns.start // width, -(-columns.stop // width)):
                block = self._segment(down * -(-self.shape[1] // width) + right)
                top, left = down * height, right * width
                high = slice(max(rows.start, top), min(rows.stop, top + len(block)))
                wide = slice(max(columns.start, left), min(columns.stop, left + width))
                target = result[_shifted(high, rows.start), _shifted(wide, columns.start)]
                target[:] = block[_shifted(high, top), _shifted(wide, left)]
        self._read += result.nbytes
        if self._read > _READ_AT_ONCE:
            self._read = 0
            give_back()
        return result

    def _segment(self, index: int) -> np.ndarray:
        block = self._kept.pop(index, None)
        if block is None:
            block = tiff_samples.segment(self._page, self.plan, index)
        if block is None:
            raise ValueError("the file is damaged or cut short")
        self._kept[index] = block
        while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > _CACHE:
            self._kept.popitem(last=False)
        return block


@contextmanager
def opened_in_parts(path: str | Path, least: int) -> Iterator[TiffParts | None]:
    """Open a TIFF file whose picture can be read in parts; None for any other.

    That are upright pictures in grey or RGB of 8 or 16 bits without further channels, not in planes.

    Args:
        path: any file.
        least: smaller pictures, in pixels, are not opened.
    """
    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff", ".btf", ".tf8") or irregular(path) is not None:
        yield None
        return
    import tifffile

    try:
        tiff = tifffile.TiffFile(path)
    except Exception:  # whatever is wrong with it is said where the whole is read
        yield None
        return
    with tiff:
        yield _parts(tiff, least)


def _parts(tiff: Any, least: int) -> TiffParts | None:
    try:
        index, page, notes = tiff_tags.picture_page(tiff)
        plan = tiff_samples.layout(page)
    except Exception:  # likewise
        return None
    xmp = tiff_tags.value(page, 700)
    turn, _, xmp = orientation.settle(None, bytes(xmp) if isinstance(xmp, bytes) else None)
    kind = (tiff_tags.number(page, 262, 1), plan.channels)
    plain = index is not None and not notes and not plan.is_planar and plan.bits in (8, 16) and kind in _KINDS
    known = plan.compression in tiff_samples.COMPRESSIONS and plan.predictor in (1, 2)
    small = page.is_memmappable or plan.row_bytes * plan.tile[1] <= _LARGEST_SEGMENT
    upright = turn == 1 and tiff_tags.number(page, 274, 1) == 1
    if plan.width * plan.height < least or not (plain and known and small and upright):
        return None
    icc = tiff_tags.value(page, 34675)
    dpi = plausible_dpi(page.get_resolution("INCH")) if 282 in page.tags and page.resolutionunit > 1 else None
    return TiffParts(page, Described(bytes(icc) if isinstance(icc, bytes) else None, xmp, dpi))


def write_in_rows(
    path: str | Path,
    rows: Iterable[np.ndarray],
    shape: tuple[int, int, int],
    bits: int,
    described: Described,
    overwrite: bool = False,
    modified: float | None = None,
) -> None:
    """Write a tiled BigTIFF file, compressed by deflate, whole or not at all.

    Args:
        path: the file.
        rows: the picture from its top to its end, in parts (h, width, channels) of any height.
        shape: (height, width, channels) of the picture.
        bits: 8 or 16.
        described: metadata.
        overwrite: replace a file that exists.
        modified: time of its last change.
    """
    import tifffile

    extra: list[Any] = [(700, "B", len(described.xmp), described.xmp, True)] if described.xmp else []
    with written_whole(path, overwrite, modified) as (partial, _), tifffile.TiffWriter(partial, bigtiff=True) as writer:
        writer.write(
            _tiles(rows, shape[1]),
            shape=shape if shape[2] > 1 else shape[:2],
            dtype=f"uint{bits}",
            tile=(TILE, TILE),
            photometric="rgb" if shape[2] > 1 else "minisblack",
            planarconfig="contig" if shape[2] > 1 else None,
            compression="zlib",
            predictor=True,
            iccprofile=described.icc,
            resolution=described.dpi,
            resolutionunit="INCH" if described.dpi else None,
            metadata=None,
            extratags=extra,
            maxworkers=1,
        )


def _tiles(rows: Iterable[np.ndarray], width: int) -> Iterator[np.ndarray]:
    """Cut rows into tiles, from left to right and from the top down; the last ones are filled up."""
    waiting: np.ndarray | None = None
    for part in rows:
        waiting = part if waiting is None else np.concatenate([waiting, part])
        while len(waiting) >= TILE:
            yield from _across(waiting[:TILE], width)
            waiting = waiting[TILE:]
    if waiting is not None and len(waiting):
        yield from _across(np.pad(waiting, ((0, TILE - len(waiting)), (0, 0), (0, 0))), width)


def _across(band: np.ndarray, width: int) -> Iterator[np.ndarray]:
    for left in range(0, width, TILE):
        tile = band[:, left : left + TILE]
        tile = np.pad(tile, ((0, 0), (0, TILE - tile.shape[1]), (0, 0)))
        yield np.ascontiguousarray(tile if tile.shape[2] > 1 else tile[..., 0])


def _shifted(place: slice, by: int) -> slice:
    return slice(place.start - by, place.stop - by)
