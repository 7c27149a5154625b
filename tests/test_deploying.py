"""What is needed to deploy: the Dockerfiles, the page of a Space, and the pages that speak of them."""

import re
import runpy
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DOCKER = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_image_installs_extras_and_the_torch_that_the_project_has() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)$", DOCKER, re.MULTILINE)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    pinned = re.search(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None
    for text in (DOCKER, (ROOT / "examples" / "space" / "Dockerfile").read_text(encoding="utf-8")):
        assert pinned[1] in text


def test_the_image_copies_what_is_there_and_does_not_run_as_root() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    for source in re.findall(r"^COPY (.+) \S+$", DOCKER, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists()
            assert f"!{name}" in ignored
    assert re.search(r"^USER rebridge$", DOCKER, re.MULTILINE)
    assert {"cpu)", "cuda)"} <= set(DOCKER.split())


def test_the_space_has_the_head_that_spaces_read() -> None:
    text = (ROOT / "examples" / "space" / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---")[1])
    assert head["sdk"] == "docker"
    assert f"EXPOSE {head['app_port']}" in (ROOT / "examples" / "space" / "Dockerfile").read_text(encoding="utf-8")
    assert len(head["short_description"]) <= 60


def test_the_space_serves_the_page_with_its_own_limits() -> None:
    pytest.importorskip("fastapi", reason="the extra app is not installed")
    from starlette.testclient import TestClient

    found = runpy.run_path(str(ROOT / "examples" / "space" / "app.py"), run_name="space")
    with TestClient(found["make_app"]()) as client:
        assert client.get("/").status_code == 200
        assert client.get("/api/about").json()["limits"]["pixels"] == found["LIMITS"].pixels
