"""Arrays in files: what numpy saves is read, and every broken or hostile file gives one sentence and runs nothing."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rebridge.images.npy import read_array

shapes = arrays.array_shapes(min_dims=0, max_dims=4, max_side=5)


def sentence(call: Callable[[], object]) -> str | None:
    """The error of a call, or None where it has a result."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return None


@given(array=arrays.arrays(st.sampled_from(["u1", "<u2", ">f4", "f8", "i4", "?"]), shapes), zipped=st.booleans())
def test_what_numpy_saves_is_read_back(tmp_path_factory: pytest.TempPathFactory, array: Any, zipped: bool) -> None:
    path = tmp_path_factory.getbasetemp() / ("a.npz" if zipped else "a.npy")
    if zipped:
        np.savez_compressed(path, y=array)
    else:
        np.save(path, array)
    np.testing.assert_array_equal(read_array(path, "y" if zipped else None), array)
    assert read_array(path).dtype == array.dtype


@given(cut=st.integers(0, 300), flips=st.lists(st.tuples(st.integers(0, 299), st.integers(0, 255)), max_size=4))
def test_damaged_files_are_read_or_named(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flips: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npy"
    np.save(path, np.arange(40, dtype=np.float32))
    data = bytearray(path.read_bytes())
    for place, value in flips:
        data[place % len(data)] = value
    path.write_bytes(bytes(data[:cut]))
    said = sentence(lambda: read_array(path))
    assert said is None or said.startswith(str(path))
    assert "\n" not in (said or "")


def header(text: str) -> bytes:
    body = text.ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + len(body).to_bytes(2, "little") + body.encode()


class Payload:
    """Unpickled, it would leave a file."""

    def __reduce__(self) -> Any:
        return (os.mkdir, ("payload-ran",))


def test_hostile_files_give_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("struct.npy", np.zeros(3, dtype=[("a", "f4"), ("b", "i4")]))
    np.save("complex.npy", np.zeros(3, dtype=complex))
    np.save("words.npy", np.array(["a", "b"]))
    np.save("objects.npy", np.array([Payload()], dtype=object), allow_pickle=True)
    np.savez("two.npz", a=np.zeros(1), b=np.zeros(1))
    Path("pickle.npy").write_bytes(pickle.dumps(Payload()))
    huge = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    Path("huge.npy").write_bytes(header(huge))
    Path("code.npy").write_bytes(header("__import__('os').mkdir('payload-ran')"))
    Path("empty.npy").write_bytes(b"")
    Path("text.npz").write_text("no archive")
    os.mkfifo("pipe.npy")
    for path in sorted(Path().glob("*.np[yz]")):
        with pytest.raises(ValueError, match=path.name) as caught:
            read_array(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"promises 4,000,000,000,000 bytes of numbers, and 0 are there"):
        read_array("huge.npy")
    assert not Path("payload-ran").exists()


def test_an_npy_file_called_npz_is_read_all_the_same(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    assert read_array(tmp_path / "a.npz", "y").tolist() == [0, 1, 2]
