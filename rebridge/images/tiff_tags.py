"""Tags of TIFF files: which page is the picture, and what the file says about it."""

from typing import IO, Any, Literal

from PIL import Image as PILImage

from rebridge.images import iptc

_RAW_PHOTOMETRICS = (32803, 34892)
_SUB_DIRECTORIES = (0x8769, 0x8825)
_KEPT = (270, 271, 272, 274, 305, 306, 315, 33432)


def value(page: Any, tag: int, default: Any = None) -> Any:
    """Value of a tag of a tifffile page."""
    found = page.tags.get(tag)
    return default if found is None else found.value


def number(page: Any, tag: int, default: int) -> int:
    """Value of a tag that holds one number; the first of several."""
    found = value(page, tag, default)
    if isinstance(found, tuple | list):
        found = found[0] if found else default
    try:
        return int(found)
    except (TypeError, ValueError):
        return default


def picture_page(tiff: Any) -> tuple[int | None, Any, tuple[str, ...]]:
    """Find the one page that is the picture, not a thumbnail or a mask.

    Returns:
        Its index among the pages (None where it lies below one of them), the page, and sentences about what else
        the file holds.

    Raises:
        ValueError: the file holds several pictures.
    """
    pages: list[Any] = []
    pictures: list[int] = []
    notes: tuple[str, ...] = ()
    for index, page in enumerate(tiff.pages):
        pages.append(page if hasattr(page, "tags") else page.aspage())
        if is_mask(pages[-1]):
            notes = ("its mask page is not kept",)
        elif not is_reduced(pages[-1]):
            pictures.append(index)
        if len(pictures) > 1:
            raise ValueError(f"it has {len(tiff.pages)} pages, and only one image at a time can be restored")
    if pictures:
        return pictures[0], pages[pictures[0]], notes
    for page in pages:
        for child in below(page):
            if not is_reduced(child) and not is_mask(child):
                return None, child, notes
    if not pages:
        raise ValueError("it has no pages")
    largest = max(range(len(pages)), key=lambda index: pages[index].imagewidth * pages[index].imagelength)
    return largest, pages[largest], notes


def below(page: Any) -> list[Any]:
    """List the pages that a page refers to as its children.

    None where the reference is damaged.
    """
    if 330 not in page.tags:
        return []
    try:
        return list(page.pages or ())
    except Exception:  # tifffile raises whatever the damaged bytes lead to
        return []


def is_reduced(page: Any) -> bool:
    """Tell whether a page is a smaller version of another, by the new or the old tag."""
    return bool(number(page, 254, 0) & 1) or number(page, 255, 1) == 2


def is_mask(page: Any) -> bool:
    """Tell whether a page is a transparency mask for another."""
    return bool(number(page, 254, 0) & 4) or number(page, 262, 1) == 4


def is_camera_raw(tiff: Any) -> bool:
    """Tell whether a TIFF file is camera raw data.

    DNG, NEF and ARW are.
    """
    first = tiff.pages[0]
    pages = [first, *below(first)]
    return 50706 in first.tags or any(number(page, 262, 1) in _RAW_PHOTOMETRICS for page in pages)


def records(page: Any) -> bytes | None:
    """IPTC records of a page, by their own tag or in Photoshop's resources."""
    for tag, unpack in ((33723, iptc.as_records), (34377, iptc.from_resources)):
        found = value(page, tag)
        if isinstance(found, tuple) and all(isinstance(word, int) and 0 <= word < 2**32 for word in found):
            order: Literal["little", "big"] = "little" if page.parent.byteorder == "<" else "big"
            found = b"".join(word.to_bytes(4, order) for word in found)
        if isinstance(found, bytes) and (result := unpack(found)):
            return result
    return None


def exif_block(file: IO[bytes], offset: int | None, is_big: bool = False, endian: str | None = None) -> bytes | None:
    """Return the photographic tags of a TIFF directory as EXIF.

    Without the tags of the file's own layout.

    Args:
        file: the TIFF file at its beginning.
        offset: where the directory lies; None for the first one.
        is_big: whether the file is a BigTIFF.
        endian: byte order, '<' or '>', needed with `offset`.
    """
    tags, kept = PILImage.Exif(), PILImage.Exif()
    if offset is not None:
        tags.bigtiff, tags.endian = is_big, endian
    tags.load_from_fp(file, offset)
    for tag in _KEPT:
        if tag in tags:
            kept[tag] = tags[tag]
    for directory in _SUB_DIRECTORIES:
        kept.get_ifd(directory).update(tags.get_ifd(directory))
    if not len(kept) and not any(kept.get_ifd(directory) for directory in _SUB_DIRECTORIES):
        return None
    return kept.tobytes()


def plain_exif(page: Any) -> bytes | None:
    """Return the photographic tags of a page as EXIF.

    Without its sub-directories, for files that Pillow does not read.
    """
    kept = PILImage.Exif()
    for tag in _KEPT:
        found = value(page, tag)
        if isinstance(found, str | int):
            kept[tag] = found
    return kept.tobytes() if len(kept) else None
