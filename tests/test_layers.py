"""The order of the packages: imports point downwards only, wherever they stand in a file."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "rebridge"
LAYERS: tuple[tuple[str, ...], ...] = (
    ("catalogue", "images"),
    ("bridges",),
    ("networks", "degradations"),
    ("denoisers",),
    ("samplers",),
    ("data",),
    ("models",),
    ("irbridge",),
    ("inverse",),
    ("restoration",),
    ("evaluation",),
    ("training",),
    ("integrations",),
    ("commands",),
    ("app",),
    ("cli",),
)
"""From the lowest to the highest; a package may import those in the lines before its own."""
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
OUTSIDE = {"__init__", "_lazy", "_moved", "_legacy"}
"""Modules beside the layers: the lazy face of the package, and the old import paths."""
FREE = {"__init__", "_lazy", "_moved"}
"""Those of them that any package may import."""


def imported(path: Path) -> set[str]:
    """Packages of rebridge that a file imports anywhere."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path} uses a relative import"
            names = [f"rebridge.{alias.name}" for alias in node.names] if node.module == "rebridge" else [node.module]
            found |= set(names)
    return {name.split(".")[1] for name in found if name.startswith("rebridge.")}


def test_every_package_has_its_layer() -> None:
    present = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert present - OUTSIDE == set(LEVEL)


@pytest.mark.parametrize("name", LEVEL)
def test_imports_point_downwards(name: str) -> None:
    place = PACKAGE / name
    files = [place.with_suffix(".py")] if place.with_suffix(".py").is_file() else sorted(place.rglob("*.py"))
    for path in files:
        for other in imported(path) - {name}:
            assert other not in OUTSIDE - FREE, f"{path} imports {other}"
            if other in LEVEL:
                assert LEVEL[other] < LEVEL[name], f"{path} imports {other}, which lies above or beside {name}"


def test_importing_the_package_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys, rebridge; assert not {'torch', 'numpy', 'PIL', 'pydantic'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_short_commands_load_no_package_that_they_do_not_need() -> None:
    """Some of them take longer to load than torch."""
    import subprocess
    import sys

    heavy = {"torchmetrics", "transformers", "matplotlib", "diffusers", "accelerate", "fastapi"}
    for command in (["models"], ["samplers"], ["bridges"], ["degrade", "--task", "rain", "nowhere.png", "-o", "out"]):
        code = f"""
import sys
from rebridge.cli import app
try:
    app({command})
except SystemExit:
    pass
assert "torch" in sys.modules
assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)
"""
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_restoring_a_png_loads_nothing_for_other_formats_and_models(tmp_path: Path) -> None:
    import subprocess
    import sys

    from PIL import Image

    Image.new("RGB", (16, 16)).save(tmp_path / "in.png")
    words = ["restore", str(tmp_path / "in.png"), "-o", str(tmp_path / "out.png"), "--model", "rdbm-tiny"]
    idle = {"yaml", "tifffile", "imagecodecs", "PIL.ImageFont", "PIL.TiffImagePlugin", "torch.utils.flop_counter"}
    idle |= {"rebridge.degradations.catalogue", "rebridge.models.formats.published.catalogue"}
    code = f"""
import sys
from rebridge.cli import app
try:
    app({words})
except SystemExit as end:
    assert not end.code, end.code
assert not {idle} & set(sys.modules), {idle} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_help_loads_no_torch() -> None:
    import subprocess
    import sys

    code = """
import sys
from rebridge.cli import app
for command in ([], ["restore"], ["models"], ["train"], ["compare"]):
    try:
        app([*command, "--help"])
    except SystemExit:
        pass
assert not {"torch", "numpy", "PIL"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_tab_completion_shows_public_names_only() -> None:
    import rebridge

    assert set(dir(rebridge)) == {*rebridge.__all__, "__version__"}
    for name in rebridge.__all__:
        assert getattr(rebridge, name) is not None
