"""The code of docs/training.md runs as it stands, and what it registers is used by a configuration file."""

import re
from pathlib import Path

import pytest

from rebridge import training

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"<!-- tested -->\n```python\n(.*?)```", (ROOT / "docs" / "training.md").read_text(), re.S)


def test_the_page_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    try:
        for block in BLOCKS:
            exec(block, names)
        config = training.load_config(
            ROOT / "configs" / "tiny.yaml", ["method=doubled", f"data.clean={ROOT / 'examples' / 'images'}"]
        )
        assert type(config) is names["DoubledConfig"]
        assert training.train(config).model == Path("runs/tiny/model")
    finally:
        if "doubled" in training.names():
            training.METHODS.unregister("doubled")
    assert (tmp_path / "runs" / "own" / "checkpoint-00000020").is_dir()
    assert not (tmp_path / "runs" / "loop" / "checkpoint-00000020").exists()
    assert (tmp_path / "runs" / "averaged" / "checkpoint-00000020" / "ema.safetensors").is_file()
