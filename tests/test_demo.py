"""The demo runs, and what it prints and draws is true."""

import subprocess
import sys
from pathlib import Path

from PIL import Image

from rebridge import bridges, networks
from rebridge.models import TrainedModel

ROOT = Path(__file__).parent.parent


def test_demo_prints_figures_draws_pictures_and_says_where(tmp_path: Path) -> None:
    network = networks.create("fast", widths=[8, 16], blocks=[1], middle=1, embedding=16)
    tiny = TrainedModel.of(network, bridges.create("rdbm"), sampler={"name": "dbim", "steps": 1}, tasks=["noise"])
    model = tiny.save_pretrained(tmp_path / "tiny")
    words = [sys.executable, "examples/demo.py", "--model", str(model), "--out", str(tmp_path / "out")]
    tasks = ["--task", "noise", "--task", "haze"]
    ended = subprocess.run([*words, *tasks], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "6 images restored" in ended.stdout
    assert str(tmp_path / "out") in ended.stdout
    pictures = {path.name: Image.open(path).size for path in (tmp_path / "out").iterdir()}
    photos = {path.stem: Image.open(path).size for path in (ROOT / "examples" / "images").iterdir()}
    assert len(pictures) == 7
    for name, (width, _) in photos.items():
        assert pictures[f"noise-{name}.png"][0] == 3 * width


def test_example_photographs_are_small_and_named_with_their_source() -> None:
    readme = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "examples" / "images").iterdir():
        assert path.stat().st_size < 150_000
        assert max(Image.open(path).size) <= 512
        assert f"`images/{path.name}`" in readme
