"""Atomic writing.

Permissions stay, names of any script work, leftovers of killed programs are found and removed.
"""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rebridge.images import check_folder, read_image, remove_leftovers, write_atomic, write_image
from rebridge.images.atomic import temporary_folder
from tests.images.making import as_image, picture


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o666, 0o444])
def test_a_replaced_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"before")
    path.chmod(mode)
    write_image(path, as_image(picture()), overwrite=True)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert read_image(path).size == (32, 24)


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomic(tmp_path / "a", b"x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"before")
    (tmp_path / "link").symlink_to("real")
    write_atomic(tmp_path / "link", b"after", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"after"


def test_a_loop_of_links_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match=r"loop|levels"):
        write_atomic(tmp_path / "loop", b"x", overwrite=True)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["写", "ф", "a", "é", "😀", "e\u0301", "ab写"]), st.integers(1, 255))
def test_every_name_that_the_disk_takes_can_be_written(
    tmp_path_factory: pytest.TempPathFactory, letter: str, count: int
) -> None:
    folder = tmp_path_factory.mktemp("names")
    name = (letter * count).encode()[:251].decode("utf-8", "ignore") + ".png"
    write_image(folder / name, as_image(picture(4, 4)))
    assert os.listdir(folder) == [name]


def test_a_name_that_is_no_utf_8_can_be_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe" * 60 + b".png")
    write_image(tmp_path / name, as_image(picture(4, 4)))
    assert os.listdir(tmp_path) == [name]


def test_leftovers_of_a_killed_program_are_removed_and_files_in_work_stay(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from rebridge.images import atomic
with atomic._temporary(Path({str(tmp_path)!r}) / "写写.png") as (partial, file):
    file.write(b"half"); file.flush(); print("ready", flush=True); time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    assert remove_leftovers(tmp_path) == []
    assert len(os.listdir(tmp_path)) == 1
    child.send_signal(signal.SIGKILL)
    child.wait()
    for name in ("a.png", ".hidden", ".a.part", ".a.png.0123456789ab.part.txt"):
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / ".folder.0123456789ab.part").mkdir()
    removed = remove_leftovers(tmp_path)
    assert [path.name.startswith(".写写.png.") for path in removed] == [True]
    assert len(os.listdir(tmp_path)) == 5


def test_a_folder_that_a_killed_program_left_goes_and_one_in_work_stays(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from rebridge.images import atomic
with atomic.temporary_folder(Path({str(tmp_path)!r}) / "a[1]") as partial:
    (partial / "file").write_bytes(b"half"); print("ready", flush=True); time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    for name in (".b.0123456789ab.part", ".a[1].part", ".a[1].0123456789ab.part.mine"):
        (tmp_path / name).mkdir()
    for still_there in (1, 0):
        with temporary_folder(tmp_path / "a[1]") as partial:
            (partial / "file").write_bytes(b"whole")
            partial.rename(tmp_path / "a[1]")
        assert (tmp_path / "a[1]" / "file").read_bytes() == b"whole"
        assert len(os.listdir(tmp_path)) == 4 + still_there
        shutil.rmtree(tmp_path / "a[1]")
        child.kill()
        child.wait()


def test_leftovers_of_a_folder_that_is_not_there_are_none(tmp_path: Path) -> None:
    assert remove_leftovers(tmp_path / "missing") == []


def test_a_folder_is_proved_writable_before_work_begins(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b")
    assert os.listdir(tmp_path / "a" / "b") == []
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        with pytest.raises(OSError):  # noqa: PT011
            check_folder(folder)


def test_a_time_is_kept_where_it_is_given(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"x", modified=1e9)
    write_atomic(tmp_path / "b", b"x")
    write_atomic(tmp_path / "c", b"x", modified=float("inf"))
    assert (tmp_path / "a").stat().st_mtime == 1e9
    assert abs((tmp_path / "b").stat().st_mtime - time.time()) < 60
