"""The choice of a precision: measured once, remembered soundly, never at the cost of pixels."""

import json
import threading
from pathlib import Path

import pytest
import torch

import rebridge
from rebridge.models import load_model, speed
from rebridge.models.speed import Precisions


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(speed.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("measured", "dtype"),
    [
        (Precisions(1.0, 0.5, 0.1 / 255), torch.bfloat16),
        (Precisions(1.0, 2.4, 0.1 / 255), torch.float32),
        (Precisions(1.0, 0.95, 0.0), torch.float32),
        (Precisions(1.0, 0.5, 0.9 / 255), torch.float32),
        (Precisions(1.0, 0.5, float("nan")), torch.float32),
    ],
)
def test_bfloat16_is_chosen_where_it_is_faster_and_close_enough(measured: Precisions, dtype: torch.dtype) -> None:
    assert measured.chosen == dtype


def test_a_network_is_measured_once_and_differs_by_no_level() -> None:
    first = load_model("rdbm-tiny", device="cpu", dtype="auto")
    kept = list(speed.cache_folder().iterdir())
    assert len(kept) == 1
    before = kept[0].read_bytes()
    second = load_model("rdbm-tiny", device="cpu", dtype="auto")
    assert kept[0].read_bytes() == before
    picture = torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    exact = rebridge.Restorer.from_pretrained("rdbm-tiny", device="cpu")(picture)
    assert (exact - picture).abs().max() > 8 / 255
    for model in (first, second):
        assert (rebridge.Restorer(model)(picture) - exact).abs().max() <= 1 / 255


def test_what_is_remembered_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "measure_precisions", lambda *given: Precisions(1.0, 0.5, 0.0))
    assert load_model("enlarge-small", device="cpu", dtype="auto").precision == torch.bfloat16  # type: ignore[attr-defined]
    monkeypatch.setattr(speed, "measure_precisions", lambda *given: pytest.fail("measured again"))
    assert load_model("enlarge-small", device="cpu", dtype="auto").precision == torch.bfloat16  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": 1}', '{"format": 99, "float32": 1, "bfloat16": 1, "change": 0}',
             '{"format": 1, "float32": "x", "bfloat16": 1, "change": 0}',
             '{"format": 1, "float32": -1, "bfloat16": 1, "change": 0}']
)  # fmt: skip
def test_a_broken_record_is_measured_anew(text: str, folder: Path) -> None:
    folder.mkdir()
    path = folder / "precision.json"
    path.write_text(text)
    assert speed.recalled(path) is None
    speed.remember(path, Precisions(2.0, 1.0, 0.001))
    assert speed.recalled(path) == Precisions(2.0, 1.0, 0.001)


def test_two_writers_leave_a_whole_record(folder: Path) -> None:
    path = folder / "precision.json"
    records = [Precisions(float(number), 1.0, 0.0) for number in range(1, 9)]
    threads = [threading.Thread(target=speed.remember, args=(path, one)) for one in records for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert speed.recalled(path) in records
    assert json.loads(path.read_text())["format"] == speed.CACHE_FORMAT
    assert [one.name for one in folder.iterdir()] == ["precision.json"]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(speed.CACHE_VARIABLE, str(tmp_path / "file"))
    monkeypatch.setattr(speed, "measure_precisions", lambda *given: Precisions(1.0, 2.0, 0.0))
    assert load_model("rdbm-tiny", device="cpu", dtype="auto").precision == torch.float32  # type: ignore[attr-defined]
