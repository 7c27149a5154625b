"""Parts of one's own on the plain command line: a model made of them is restored with through --import."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

EXTENSION = '''
from dataclasses import dataclass

import torch

from rebridge import bridges, networks
from rebridge.bridges.linear import InDI
from rebridge.networks import Network


@bridges.register("calm")
@dataclass(frozen=True, kw_only=True)
class Calm(InDI):
    """A straight line with next to no noise."""

    sigma: float = 1e-3
    name = "calm"


@networks.register("blend")
class Blend(Network):
    """One convolution of the state and the degraded image."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.channels = channels
        self.layer = torch.nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, x, t, y):
        return self.layer(torch.cat([x, y], 1))
'''

SAVE = """
import sys
from rebridge.catalogue import load_extension
load_extension(sys.argv[1])
from rebridge import bridges, networks
from rebridge.models import TrainedModel
model = TrainedModel.of(networks.create("blend"), bridges.create("calm"), sampler={"name": "dbim", "steps": 2})
model.save_pretrained(sys.argv[2])
"""


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A file that registers a bridge and a network, and a model folder made of both by another program."""
    place = tmp_path_factory.mktemp("own")
    extension, folder = place / "my.py", place / "model"
    extension.write_text(EXTENSION)
    made = run("-c", SAVE, extension, folder)
    assert made.returncode == 0, made.stderr
    return extension, folder


def test_a_model_of_own_parts_restores_on_the_plain_command_line(
    own: tuple[Path, Path], photo: Path, tmp_path: Path
) -> None:
    extension, folder = own
    words = ("restore", photo, "-o", tmp_path / "out.png", "--model", folder)
    without = run("-m", "rebridge.cli", *words)
    assert without.returncode == 2
    assert "calm" in without.stderr
    restored = run("-m", "rebridge.cli", *words, "--import", extension)
    assert restored.returncode == 0, restored.stderr
    assert (tmp_path / "out.png").is_file()


def test_the_program_itself_takes_the_option_too_and_lists_show_the_parts(own: tuple[Path, Path]) -> None:
    listed = run("-m", "rebridge.cli", "--import", own[0], "bridges", "--json")
    assert listed.returncode == 0, listed.stderr
    assert json.loads(listed.stdout)[-1]["name"] == "calm"


@pytest.mark.parametrize("source", ["gone.py", "no.such.module"])
def test_what_cannot_be_imported_is_one_sentence(source: str) -> None:
    from rebridge.cli import app

    for words in (["--import", source, "bridges"], ["bridges", "--import", source]):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2, result.output
        assert source in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


def test_a_file_with_an_error_says_which(tmp_path: Path) -> None:
    from rebridge.cli import app

    (tmp_path / "bad.py").write_text("1 / 0")
    result = CliRunner().invoke(app, ["samplers", "--import", str(tmp_path / "bad.py")])
    assert result.exit_code == 2
    assert "bad.py cannot be imported: ZeroDivisionError" in result.stderr
