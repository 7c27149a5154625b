"""What is installed: the core's few packages, extras that code imports, one version, a wheel of the package alone."""

import ast
import functools
import py_compile
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import rebridge

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
MODULES = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "pillow-heif": "pillow_heif",
    "python-multipart": "python_multipart",
    "mkdocs-material": "material",
}
"""Modules whose names differ from those of their packages."""
RUN = {"uvicorn", "python_multipart", "transformers", "peft"}
"""Modules that others import for us by name: servers, forms, text encoders, adapters."""
TOOLS = {"dev", "docs"}
"""Extras for those who work on the project, not for its code."""
HEAVY = 5e6


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


@functools.cache
def imported() -> frozenset[str]:
    """First parts of all modules that the package imports anywhere, also by a string."""
    found: set[str] = set()
    for path in (ROOT / "rebridge").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                found.add(node.module.split(".")[0])
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                found.add(node.value)
    return frozenset(found)


def closure(roots: set[str], without: set[str]) -> set[str]:
    """All packages that the roots need in this environment, less those in `without`."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in found or name in without:
            continue
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        found.add(name)
        for text in requires:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(requirement.name))
    return found


def size(name: str, place: Path) -> int:
    """Bytes of the files that the package's wheel brought, and of their bytecode, which pip writes on installing."""
    total = 0
    for number, file in enumerate(distribution(name).files or []):
        path = Path(str(file.locate()))
        if path.suffix == ".pyc" or not path.is_file():
            continue
        total += path.stat().st_size
        if path.suffix == ".py":
            compiled = py_compile.compile(str(path), str(place / f"{number}.pyc"), quiet=2)
            total += Path(compiled).stat().st_size if compiled else 0
    return total


def test_the_core_has_few_heavy_packages_beyond_torch_even_with_their_bytecode(tmp_path: Path) -> None:
    of_torch = closure({"torch"}, set())
    heavy = {name for name in closure(names(PROJECT["dependencies"]), of_torch) if size(name, tmp_path) > HEAVY}
    assert "numpy" in heavy
    assert len(heavy) <= 6, heavy
    assert not heavy & {"matplotlib", "tensorboard", "grpcio", "diffusers", "transformers", "scipy", "torchvision"}


@pytest.mark.parametrize("extra", sorted(set(EXTRAS) - TOOLS))
def test_an_extra_is_there_for_code_that_imports_it(extra: str) -> None:
    modules = {MODULES.get(name, name.replace("-", "_")) for name in names(EXTRAS[extra]) - {"rebridge"}}
    assert modules - imported() <= RUN


def test_the_core_imports_what_it_requires_and_nothing_of_the_extras_at_once() -> None:
    modules = {MODULES.get(name, name.replace("-", "_")) for name in names(PROJECT["dependencies"])}
    assert modules <= imported()
    absent = {MODULES.get(name, name.replace("-", "_")) for extra in EXTRAS for name in names(EXTRAS[extra])}
    absent -= {*modules, "rebridge", "types_pyyaml"}
    # Entries of None make the import of a module fail, as if it were not installed.
    parts = "rebridge.training, rebridge.commands.restore, rebridge.commands.compare, rebridge.commands.evaluate"
    code = f"import sys; sys.modules.update(dict.fromkeys({sorted(absent)})); import {parts}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_training_and_plots_without_their_extra_say_what_adds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rebridge import training
    from rebridge.commands.compare import compare
    from rebridge.commands.options import CompareOptions

    for module in ("accelerate", "matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=r"accelerate is missing.*pip install 'rebridge\[train\]'"):
        training.train_file(
            ROOT / "configs" / "tiny.yaml", [f"output={tmp_path / 'run'}", f"data.clean={ROOT / 'examples/images'}"]
        )
    with pytest.raises(ValueError, match=r"matplotlib.* is missing.*pip install 'rebridge\[train\]'"):
        compare(CompareOptions(analytic=True, bridges=["goub"], output=tmp_path / "compared"))
    assert not (tmp_path / "compared").exists()


def test_the_version_stands_in_one_place() -> None:
    assert "version" not in PROJECT
    assert re.fullmatch(r"\d+\.\d+\.\d+", rebridge.__version__)
    said = {path.name for path in ROOT.glob("*.cff") if re.search(r"^version:", path.read_text(), re.MULTILINE)}
    assert not said


def test_the_workflow_runs_on_three_pythons_and_on_the_oldest_and_the_pinned_torch() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yml").read_text(encoding="utf-8"))
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]
    (oldest,) = [text for text in PROJECT["dependencies"] if text.startswith("torch>=")]
    (pinned,) = re.findall(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert matrix["python"] == ["3.11", "3.12", "3.13"]
    assert matrix["torch"] == [f"{oldest.removeprefix('torch>=')}.0", pinned]
    tried = "\n".join(step.get("run", "") for step in workflow["jobs"]["wheel"]["steps"])
    assert "-m venv" in tried
    assert "rebridge restore" in tried


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.stem)
def test_files_for_the_place_of_the_project_are_yaml_with_a_name(path: Path) -> None:
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    if path.parent.name == "ISSUE_TEMPLATE" and path.stem != "config":
        assert {"name", "description", "body"} <= set(found)
        assert all({"type", "id", "attributes"} <= set(field) for field in found["body"])


def test_the_wheel_holds_the_package_alone_and_is_small(tmp_path: Path) -> None:
    """Built of a copy and without a network: setuptools is in the environment."""
    pytest.importorskip("setuptools")
    source = tmp_path / "source"
    shutil.copytree(ROOT / "rebridge", source / "rebridge", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("benchmarks", "tests", "docs"):  # must stay outside
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.json", "*.png", "official"))
    words = ["wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("rebridge-*.whl")
    assert rebridge.__version__ in wheel.name
    assert wheel.stat().st_size < 30e6
    with ZipFile(wheel) as archive:
        held = archive.namelist()
    assert {name.split("/")[0] for name in held} == {"rebridge", f"rebridge-{rebridge.__version__}.dist-info"}
    packaged = {path.relative_to(ROOT).as_posix() for path in (ROOT / "rebridge" / "models" / "packaged").glob("*/*")}
    assert packaged <= set(held)
    assert {"rebridge/py.typed", "rebridge/app/static/index.html"} <= set(held)
