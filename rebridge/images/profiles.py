"""ICC profiles for what PNG, AVIF, HEIF and JPEG XL say about colour without one.

gAMA and cHRM give a gamma and primaries, cICP names a standard colour space (ITU-T H.273); other formats can only
say the same by an ICC profile, which is built here: matrix and curves, with white adapted to D50.
"""

import struct
import zlib
from collections.abc import Callable, Mapping

import numpy as np

Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""x and y of white, red, green and blue."""

_D65 = (0.3127, 0.3290)
SRGB: Chromaticities = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_PRIMARIES: Mapping[int, tuple[str, Chromaticities]] = {
    1: ("BT.709", SRGB),
    4: ("BT.470 M", (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08)),
    5: ("BT.601 625", (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06)),
    6: ("BT.601 525", (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070)),
    7: ("SMPTE 240M", (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070)),
    8: ("film", (0.310, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049)),
    9: ("BT.2020", (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)),
    11: ("DCI-P3", (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)),
    12: ("Display P3", (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)),
    22: ("EBU 3213", (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077)),
}
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.96420288, 1.0, 0.82490540])


def from_chunks(chunks: tuple[tuple[bytes, bytes], ...], grey: bool = False) -> bytes | None:
    """Build an ICC profile for what PNG chunks say about colour.

    They count in the order of precedence of the PNG standard.

    Args:
        chunks: (name, content) pairs, among them possibly cICP, sRGB, gAMA and cHRM.
        grey: whether the picture is grey.

    Returns:
        A profile, or None where the chunks say nothing, or only sRGB.
    """
    said = dict(reversed(chunks))
    if len(said.get(b"cICP", b"")) == 4:
        return from_cicp(said[b"cICP"][0], said[b"cICP"][1], grey)
    if b"sRGB" in said:
        return None
    gamma, corners = said.get(b"gAMA", b""), said.get(b"cHRM", b"")
    exponent = 1e5 / struct.unpack(">I", gamma)[0] if len(gamma) == 4 and gamma != bytes(4) else None
    points = tuple(value / 1e5 for value in struct.unpack(">8I", corners)) if len(corners) == 32 else SRGB
    is_srgb = max(abs(a - b) for a, b in zip(points, SRGB, strict=True)) < 1e-3
    if exponent is not None and abs(exponent - 2.2) < 0.02:
        exponent = None  # 0.45455 is how PNG writers say sRGB
    if exponent is None and (is_srgb or grey):
        return None
    if exponent is not None and not 0.1 <= exponent <= 10:
        return None
    curve = _srgb_to_linear if exponent is None else (lambda v: v**exponent)
    name = f"gamma {exponent:.2f}" if exponent is not None else "cHRM"
    return profile_of(f"PNG {name}", curve, points, grey)


def from_cicp(primaries: int, transfer: int, grey: bool = False) -> bytes | None:
    """Build an ICC profile of CICP code points.

    None for sRGB and for code points without a known meaning.
    """
    name, corners = _PRIMARIES.get(primaries, ("", None))
    curve = _TRANSFER.get(transfer)
    if corners is None or curve is None or (corners == SRGB and transfer in (1, 13)):
        return None
    return profile_of(f"{name}, transfer {transfer}", curve, corners, grey, cicp=(primaries, transfer))


def profile_of(
    description: str,
    curve: Callable[[np.ndarray], np.ndarray],
    corners: Chromaticities,
    grey: bool = False,
    cicp: tuple[int, int] | None = None,
) -> bytes | None:
    """Build an ICC profile of version 4.

    Args:
        description: name of the colour space, shown by programs.
        curve: encoded value to linear light, both in [0, 1].
        corners: white point and primaries.
        grey: build a profile for grey pictures, which has no primaries.
        cicp: code points to be named in the profile too.

    Returns:
        The profile, or None for primaries that span no colours.
    """
    samples = np.rint(curve(np.linspace(0, 1, 1024)).clip(0, 1) * 65535).astype(">u2")
    curves = b"curv\0\0\0\0" + struct.pack(">I", len(samples)) + samples.tobytes()
    text = description.encode("utf-16-be")
    tags = {
        b"desc": b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text,
        b"cprt": b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", 4, 28) + "CC".encode("utf-16-be"),
        b"wtpt": _xyz(_D50),
    }
    if grey:
        tags[b"kTRC"] = curves
    else:
        columns, adaptation = _matrix(corners)
        if columns is None or adaptation is None:
            return None
        tags[b"chad"] = b"sf32\0\0\0\0" + b"".join(_fixed(value) for value in adaptation.ravel())
        for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns.T, strict=True):
            tags[name] = _xyz(column)
        tags |= {b"rTRC": curves, b"gTRC": curves, b"bTRC": curves}
        if cicp is not None:
            tags[b"cicp"] = b"cicp\0\0\0\0" + bytes([*cicp, 0, 1])
    return _assembled(tags, b"GRAY" if grey else b"RGB ")


def inflated(content: bytes, limit: int = 16_000_000) -> bytes | None:
    """Unpack a PNG iCCP chunk.

    None for one that is damaged or larger than any profile.
    """
    _, separator, packed = content.partition(b"\0")
    if not separator or packed[:1] != b"\0":
        return None
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(packed[1:], limit)
    except zlib.error:
        return None
    return profile if unpacker.eof and profile[36:40] == b"acsp" else None


def _assembled(tags: dict[bytes, bytes], space: bytes) -> bytes:
    """Header, table of tags and their contents; equal contents are stored once."""
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    places: dict[bytes, int] = {}
    for name, content in tags.items():
        if content not in places:
            places[content] = start + len(body)
            body += content.ljust(-(-len(content) // 4) * 4, b"\0")
        table += name + struct.pack(">II", places[content], len(content))
    header = bytearray(128)
    struct.pack_into(">I", header, 0, start + len(body))
    header[8:12] = b"\x04\x30\0\0"
    header[12:24] = b"mntr" + space + b"XYZ "
    struct.pack_into(">6H", header, 24, 2024, 1, 1, 0, 0, 0)
    header[36:40] = b"acsp"
    header[68:80] = b"".join(_fixed(value) for value in _D50)
    return bytes(header) + struct.pack(">I", len(tags)) + table + body


def _matrix(corners: Chromaticities) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Linear RGB to XYZ under D50, and the adaptation from the white point to D50."""
    points = np.array(corners, np.float64).reshape(4, 2)
    if not ((points >= 0) & (points <= 1)).all() or (points[:, 1] < 1e-3).any():
        return None, None
    xyz = np.stack([points[:, 0] / points[:, 1], np.ones(4), (1 - points.sum(1)) / points[:, 1]])
    white, primaries = xyz[:, 0], xyz[:, 1:]
    if abs(np.linalg.det(primaries)) < 1e-6:
        return None, None
    cones = _BRADFORD @ white
    if (abs(cones) < 1e-6).any():
        return None, None
    adaptation = np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ _D50 / cones) @ _BRADFORD
    columns = adaptation @ (primaries * np.linalg.solve(primaries, white))
    if not np.isfinite(columns).all() or abs(columns).max() > 100:
        return None, None
    return columns, adaptation


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(float(value) * 65536))


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(_fixed(value) for value in values)


def _srgb_to_linear(v: np.ndarray) -> np.ndarray:
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def _bt709_to_linear(v: np.ndarray) -> np.ndarray:
    return np.where(v < 0.081, v / 4.5, ((v + 0.099) / 1.099) ** (1 / 0.45))


def _smpte240_to_linear(v: np.ndarray) -> np.ndarray:
    return np.where(v < 0.0913, v / 4, ((v + 0.1115) / 1.1115) ** (1 / 0.45))


def _pq_to_linear(v: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084, scaled so that full signal is 10,000 cd/m2."""
    root = v ** (32 / 2523)
    return (np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)) ** (16384 / 2610)


def _hlg_to_linear(v: np.ndarray) -> np.ndarray:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(v <= 0.5, v**2 / 3, (np.exp((v - c) / a) + b) / 12)


_TRANSFER: Mapping[int, Callable[[np.ndarray], np.ndarray]] = {
    1: _bt709_to_linear,
    4: lambda v: v**2.2,
    5: lambda v: v**2.8,
    6: _bt709_to_linear,
    7: _smpte240_to_linear,
    8: lambda v: v,
    13: _srgb_to_linear,
    14: _bt709_to_linear,
    15: _bt709_to_linear,
    16: _pq_to_linear,
    17: lambda v: v**2.6,
    18: _hlg_to_linear,
}
