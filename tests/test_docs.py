"""The documentation: its code runs, its links lead somewhere, its tables are those of the files, its site builds."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from rebridge.cli import app
from rebridge.models import packaged
from rebridge.models.places import PACKAGED
from tests.documents import COMMAND, PAGES, ROOT, anchors, blocks, indented, outside_code, small_project

ELSEWHERE = {
    "README.md": "tests/test_readme.py",
    "docs/app.md": "tests/app/test_api.py",
    "docs/comparing.md": "tests/irbridge/test_document.py",
    "docs/ecosystem.md": "tests/integrations/test_ecosystem_document.py",
    "docs/extending.md": "tests/test_extending.py",
    "docs/irbridge.md": "tests/irbridge/test_document.py",
    "docs/solvers.md": "tests/inverse/test_solvers_document.py",
    "docs/training.md": "tests/training/test_training_docs.py",
}
"""Pages whose Python is run by tests of their own, which look at what comes out as well."""
COMMANDS_ELSEWHERE = {"README.md": "tests/test_readme.py", "docs/irbridge.md": "tests/irbridge/test_document.py"}
LANGUAGES = {"sh", "python", "yaml", "nginx", "text"}
NEED_EXTRAS = {"docs/systems/scd.md": "peft"}
CLI = get_command(app)
assert isinstance(CLI, TyperGroup)
COMMANDS = CLI.commands


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like the project's root, with what the pages speak of, all of it small."""
    monkeypatch.chdir(small_project(tmp_path))
    return tmp_path


def pages_with(language: str, without: dict[str, str]) -> list[str]:
    return [
        page for page in PAGES if page not in without and any(block.reason is None for block in blocks(page, language))
    ]


@pytest.mark.parametrize(
    "page", sorted(set(pages_with("python", ELSEWHERE)) | set(pages_with("sh", COMMANDS_ELSEWHERE)))
)
def test_the_code_of_a_page_runs_from_top_to_bottom(page: str, workplace: Path) -> None:
    """Commands and Python in the order of the page, in one folder."""
    if page in NEED_EXTRAS:
        pytest.importorskip(NEED_EXTRAS[page])
    names: dict[str, Any] = {"__name__": "example"}
    for block in blocks(page):
        if block.reason is not None:
            continue
        if block.language == "python" and page not in ELSEWHERE:
            exec(compile(block.code, page, "exec"), names)
        elif block.language == "sh" and page not in COMMANDS_ELSEWHERE:
            for line in block.lines:
                words = shlex.split(line, comments=True)
                assert words[0] == "rebridge", f"{page}: {line} (mark the block as not run, with a reason)"
                result = CliRunner().invoke(app, words[1:])
                assert result.exit_code == 0, f"{page}: {line}: {result.output}"


@pytest.mark.parametrize(("page", "test"), sorted({*ELSEWHERE.items(), *COMMANDS_ELSEWHERE.items()}))
def test_pages_that_are_run_elsewhere_are_named_there(page: str, test: str) -> None:
    assert Path(page).name in (ROOT / test).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_code_is_fenced_and_says_why_it_is_not_run(page: str) -> None:
    assert not [line for line in indented(page) if COMMAND.match(line)]
    for block in blocks(page):
        assert block.language in LANGUAGES
        assert block.reason is None or len(block.reason) > 4
        if block.language == "yaml":
            yaml.safe_load(block.code)


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_are_not_run_exist_with_their_options(page: str) -> None:
    for block in blocks(page, "sh"):
        if block.reason is None:
            continue
        for line in block.lines:
            words = shlex.split(line, comments=True)
            words = words[next((i for i, word in enumerate(words) if "=" not in word or word.startswith("-")), 0) :]
            options = [word.split("=")[0] for word in words if word.startswith("--")]
            if words[0] == "rebridge" and not words[1].startswith("-"):
                command = COMMANDS[words[1]]
                known = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
                assert set(options) <= {*known, "--help"}, line
            elif words[0] == "python" and words[1] != "-m":
                assert (ROOT / words[1]).is_file()
                # Some options are those of a parser that several scripts share.
                source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / words[1]).parent.glob("*.py"))
                assert all(f'"{option}"' in source for option in options if option != "--help"), line


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings_that_are_there(page: str) -> None:
    path = PAGES[page]
    for target in re.findall(r"\]\(([^)\s]+)\)", outside_code(page)):
        if re.match(r"(?:https?|mailto):", target):
            continue
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        assert found.exists(), f"{page}: {target}"
        assert found.is_relative_to(ROOT), f"{page}: {target}"
        if page.startswith("docs/"):
            assert found.is_relative_to(ROOT / "docs"), f"{page}: {target} is not part of the site"
        if anchor:
            assert anchor in anchors(found), f"{page}: {target}"


def test_every_page_is_in_the_navigation_once() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"(\S+\.md)$", text, re.MULTILINE)
    assert len(named) == len(set(named))
    assert {f"docs/{name}" for name in named} == {page for page in PAGES if page.startswith("docs/")}


def test_every_system_has_a_page_with_the_same_parts() -> None:
    heads = ["What it is", "When", "Formula", "In code", "Official settings", "What differs on purpose", "Cite"]
    pages = sorted((ROOT / "docs" / "systems").glob("[!i]*.md")) + [ROOT / "docs" / "systems" / "irbridge.md"]
    assert len(pages) == 10
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == heads, path.name
        assert re.search(r"!\[.+\]\(\.\./images/", text), path.name
        assert re.search(r"`python benchmarks/\w+\.py [^`]+` draws it", text), path.name
        assert (ROOT / "docs" / "citations" / f"{path.stem}.cff").is_file()


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "citations").glob("*.cff")), ids=lambda path: path.stem)
def test_citations_have_what_reference_managers_need(path: Path) -> None:
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"cff-version", "title", "message", "authors", "preferred-citation"} <= set(found)
    paper = found["preferred-citation"]
    number = re.fullmatch(r"https://arxiv.org/abs/(\d{4}\.\d{5})", paper["url"])
    assert number is not None
    assert paper["authors"] == found["authors"]
    assert number[1] in (ROOT / "docs" / "systems" / f"{path.stem}.md").read_text(encoding="utf-8")


def test_rdbm_is_cited_as_it_was_published() -> None:
    paper = yaml.safe_load((ROOT / "docs" / "citations" / "rdbm.cff").read_text())["preferred-citation"]
    assert (paper["year"], paper["start"], paper["end"]) == (2026, 8375, 8386)


def test_tables_are_those_of_the_files() -> None:
    """`python tools/tables.py` writes them."""
    found = runpy.run_path(str(ROOT / "tools" / "tables.py"))
    assert len(found["documents"]()) >= 3
    assert not found["outdated"]()


def test_the_costs_are_those_of_the_models_that_are_packaged() -> None:
    """A model that is packaged anew is measured anew: `python benchmarks/cost.py --side 384 --json docs/tables/cost.json`."""
    rows = {row["model"]: row for row in json.loads((ROOT / "docs" / "tables" / "cost.json").read_text())["rows"]}
    assert sorted(rows) == sorted(packaged())
    for name, row in rows.items():
        weights = PACKAGED / name / "model.safetensors"
        assert row["megabytes"] == pytest.approx(weights.stat().st_size / 1e6, abs=0.02), name


def test_a_table_that_was_changed_by_hand_is_found() -> None:
    written = runpy.run_path(str(ROOT / "tools" / "tables.py"))["written"]
    text = "<!-- table: citations -->\n| by | hand |\n<!-- end -->\n"
    assert written(text) != text
    assert written(written(text)) == written(text)


def test_figures_are_drawn_by_their_command(tmp_path: Path) -> None:
    words = [sys.executable, "benchmarks/figures.py", "rdbm", "nrlg", "--out", str(tmp_path)]
    subprocess.run(words, check=True, cwd=ROOT, capture_output=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nrlg.svg", "rdbm.svg"]
    drawn = {path.stem for path in (ROOT / "docs" / "images" / "systems").glob("*.svg")}
    assert drawn == set(runpy.run_path(str(ROOT / "benchmarks" / "figures.py"))["FIGURES"])


def test_pictures_of_the_documentation_are_small() -> None:
    sizes = {path: path.stat().st_size for path in (ROOT / "docs" / "images").rglob("*.*")}
    assert max(sizes.values()) < 600_000
    assert sum(sizes.values()) < 4_000_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation as `make docs` builds it: strictly, and where no network can be reached."""
    for module in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("docs") / "site"
    words = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", **nowhere}
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert "WARNING" not in ended.stdout + ended.stderr
    return folder


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*?\bsrc=[\"']?(https?:[^\"' >]+)", text)
        loaded += re.findall(r"<link\b[^>]*?\bhref=[\"']?(https?:[^\"' >]+)", text)
        assert not loaded, page


def test_search_works_in_pages_that_are_opened_as_files(site: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as run:
        browser = run.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.click("input.md-search__input")
        page.keyboard.type("critical time", delay=20)  # the page searches on keys, not on what is put in by a script
        page.wait_for_selector(".md-search-result__item", timeout=60_000)
        found = page.inner_text(".md-search-result__list").lower()
        browser.close()
    assert "irbridge" in found
    assert all(address.startswith(("file:", "data:", "about:")) for address in asked)


def test_nothing_speaks_of_places_of_one_machine() -> None:
    names = ("*.md", "*.py", "*.yaml", "*.yml", "*.toml", "*.txt", "*.cff", "*.json", "*.ipynb")
    folders = ("rebridge", "docs", "benchmarks", "tools", "examples", "configs", "integrations", ".github", ".ci")
    files = [path for folder in folders for name in names for path in (ROOT / folder).rglob(name)]
    files += [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    wrong = [
        str(path)
        for path in files
        if re.search(
            r"\.\./shared|(?<![\w.])/(?:work|root|opt/pypi)/", path.read_text(encoding="utf-8", errors="replace")
        )
    ]
    assert not wrong
