"""Files of defaults: what is no such file is refused at once, by one sentence."""

import os
from pathlib import Path

import pytest

from rebridge.commands.defaults import read_defaults


def test_defaults_are_read_within_limits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "bomb.yaml").write_text(
        "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*{f'b{i - 1}' if i else 'a'}, *a]\n" for i in range(5000))
    )
    (tmp_path / "twice.yaml").write_text("seed: 1\nseed: 2\n")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    for path in (Path("/dev/zero"), *sorted(tmp_path.iterdir()), tmp_path, tmp_path / "missing"):
        with pytest.raises(ValueError, match=f"--config {path}: cannot be read: ") as caught:
            read_defaults(path, "restore", {"--seed": "seed"})
        assert "\n" not in str(caught.value)
