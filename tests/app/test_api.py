"""The API: jobs, their progress and files, and what is refused with a sentence."""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra app is not installed")

from rebridge.app.limits import Limits
from rebridge.app.work import safe_name
from rebridge.commands.opening import open_restorer
from rebridge.commands.options import ModelOptions, SamplingOptions
from rebridge.commands.restore import restore_image
from rebridge.images import read_image, write_image
from tests.app.servers import Client, Serving, ended, listening, picture, until_running


def sent(client: Client, data: bytes, name: str = "a.png", **options: Any) -> Any:
    return client.post("/api/jobs", files={"image": (name, data)}, data=options)


def test_a_job_gives_what_the_command_gives(client: Client, model: Path, tmp_path: Path) -> None:
    data = picture(1)
    (tmp_path / "a.png").write_bytes(data)
    answer = sent(client, data, model="tiny", steps=2, seed=3, samples=2)
    assert answer.status_code == 202
    state = ended(client, answer.json()["id"])
    assert (state["state"], state["progress"], state["width"], state["height"]) == ("done", 1.0, 40, 32)
    opened = open_restorer(ModelOptions(model=str(model), device="cpu"))
    options = SamplingOptions(steps=2, seed=3, samples=2)
    write_image(tmp_path / "expected.png", restore_image(read_image(tmp_path / "a.png"), opened, options).image)
    result = client.get(f"/api/jobs/{state['id']}/result")
    assert result.content == (tmp_path / "expected.png").read_bytes()
    assert state["done"]["model"] == "tiny"
    assert (state["done"]["steps"], state["done"]["seed"], state["done"]["samples"]) == (2, 3, 2)
    assert state["views"] == ["before", "after", "changed", "uncertainty"]
    for view in state["views"]:
        shown = Image.open(io.BytesIO(client.get(f"/api/jobs/{state['id']}/views/{view}").content))
        assert shown.size == (40, 32)


def test_how_much_changed_is_the_mean_difference_of_the_files(client: Client) -> None:
    data = picture(2)
    state = ended(client, sent(client, data, model="tiny").json()["id"])
    after = client.get(f"/api/jobs/{state['id']}/result").content
    clear, found = (np.asarray(Image.open(io.BytesIO(file)), np.float64) for file in (data, after))
    assert state["done"]["changed"]["mean"] == pytest.approx(np.abs(found - clear).mean(), abs=0.3)


def test_restore_waits_and_answers_with_the_file(client: Client) -> None:
    answer = client.post("/api/restore", files={"image": ("beach.png", picture(3))}, data={"model": "tiny"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert 'filename="beach.png"' in answer.headers["content-disposition"]
    assert Image.open(io.BytesIO(answer.content)).size == (40, 32)


def test_names_metadata_and_bits_are_kept(client: Client, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    photo = picture(4, format="JPEG", exif=exif.tobytes(), dpi=(300, 300))
    answer = client.post("/api/restore", files={"image": ("Café (1).JPG", photo)}, data={"model": "tiny"})
    assert "Caf%C3%A9%20%281%29.JPG" in answer.headers["content-disposition"]
    restored = Image.open(io.BytesIO(answer.content))
    assert restored.getexif()[0x010F] == "Maker"
    assert restored.info["dpi"] == (300, 300)
    write_image(tmp_path / "deep.png", read_image_of(picture(5), tmp_path, bits=16))
    deep = {"image": ("deep.png", (tmp_path / "deep.png").read_bytes())}
    (tmp_path / "back.png").write_bytes(client.post("/api/restore", files=deep, data={"model": "tiny"}).content)
    assert read_image(tmp_path / "back.png").bits == 16


def read_image_of(data: bytes, folder: Path, bits: int) -> Any:
    from dataclasses import replace

    (folder / "source.png").write_bytes(data)
    return replace(read_image(folder / "source.png"), bits=bits)


def test_pictures_of_phones_are_taken_and_come_back_as_png(client: Client, tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra formats is not installed")
    made = heif.from_pillow(Image.open(io.BytesIO(picture(6, (64, 48)))))
    made.save(tmp_path / "IMG_0001.HEIC", quality=95)
    photo = {"image": ("IMG_0001.HEIC", (tmp_path / "IMG_0001.HEIC").read_bytes())}
    answer = client.post("/api/restore", files=photo, data={"model": "tiny", "strength": 0})
    assert answer.status_code == 200, answer.text
    assert 'filename="IMG_0001.png"' in answer.headers["content-disposition"]
    restored = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"), np.float64)
    assert np.abs(restored - np.asarray(Image.open(io.BytesIO(picture(6, (64, 48)))))).mean() < 4


def test_the_format_of_the_result_can_be_chosen(client: Client) -> None:
    answer = client.post(
        "/api/restore", files={"image": ("a.bmp", picture(6, format="BMP"))}, data={"model": "tiny", "format": "webp"}
    )
    assert 'filename="a.webp"' in answer.headers["content-disposition"]
    assert Image.open(io.BytesIO(answer.content)).format == "WEBP"


def test_a_generative_model_is_used_inside_a_bridge(client: Client) -> None:
    data: dict[str, Any] = {"model": "pixel-prior-tiny", "task": "rain", "steps": 2}
    state = ended(client, sent(client, picture(7), **data).json()["id"])
    assert state["state"] == "done", state["error"]
    assert state["done"]["sampler"].startswith("irbridge")


def test_events_tell_progress_up_to_the_end(client: Client) -> None:
    number = sent(client, picture(8, (300, 300)), model="tiny", steps=60).json()["id"]
    with client.stream("GET", f"/api/jobs/{number}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        news = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    progress = [told["progress"] for told in news]
    assert progress == sorted(progress)
    assert news[-1]["state"] == "done"
    assert len(news) > 2


def test_all_results_come_as_one_zip_file_with_names_of_their_own(client: Client) -> None:
    for seed in (1, 2):
        ended(client, sent(client, picture(seed), "same.png", model="tiny").json()["id"])
    answer = client.get("/api/results.zip")
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.namelist() == ["same.png", "same (2).png"]
    assert archive.testzip() is None


def test_cancelling_a_running_picture_frees_the_worker(client: Client) -> None:
    long = sent(client, picture(9, (500, 500)), model="tiny", steps=100, samples=16).json()["id"]
    until_running(client, long)
    after = sent(client, picture(10), model="tiny", steps=1).json()["id"]
    assert client.delete(f"/api/jobs/{long}").status_code == 200
    assert ended(client, long, 20)["state"] == "cancelled"
    assert ended(client, after, 20)["state"] == "done"
    assert client.get(f"/api/jobs/{long}/result").status_code == 410


def test_a_waiting_picture_is_cancelled_at_once_and_a_finished_one_removed(client: Client) -> None:
    long = sent(client, picture(9, (500, 500)), model="tiny", steps=100).json()["id"]
    until_running(client, long)
    waiting = sent(client, picture(10), model="tiny").json()
    assert waiting["state"] == "waiting"
    assert client.get(f"/api/jobs/{waiting['id']}/result").status_code == 409
    assert client.delete(f"/api/jobs/{waiting['id']}").json()["state"] == "cancelled"
    client.delete(f"/api/jobs/{long}")
    assert ended(client, long)["state"] == "cancelled"
    done = sent(client, picture(11), model="tiny").json()["id"]
    assert ended(client, done)["state"] == "done"
    client.delete(f"/api/jobs/{done}")
    assert client.get(f"/api/jobs/{done}").status_code == 404


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "nobody"}, "unknown model 'nobody'"),
        ({"model": "/etc"}, "unknown model"),
        ({"model": "../models"}, "unknown model"),
        ({"method": "magic"}, "method must be bridge or irbridge"),
        ({"model": "tiny", "task": "rain"}, "task goes with the method irbridge"),
        ({"steps": 0}, "steps must be between 1 and 100"),
        ({"steps": 101}, "steps must be between 1 and 100"),
        ({"samples": 17}, "samples must be between 1 and 16"),
        ({"format": "exe"}, "unknown format 'exe'"),
        ({"quality": 0}, "quality must be between 1 and 100"),
    ],
)
def test_impossible_options_are_refused_before_any_work(client: Client, options: dict[str, Any], words: str) -> None:
    answer = sent(client, picture(), **options)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_what_would_have_no_effect_is_refused_with_its_name(client: Client) -> None:
    answer = sent(client, picture(), stepz=5)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("there is no option 'stepz'; there are model, method, task")
    two = [("image", ("a.png", picture(1))), ("image", ("b.png", picture(2)))]
    for address in ("/api/jobs", "/api/restore"):
        answer = client.post(address, files=two)
        assert (answer.status_code, answer.json()["error"]) == (422, "image: one file at a time, got 2")
    assert sent(client, picture(), model="tiny", tile=64, overlap=8).status_code == 202


def test_what_could_not_be_read_of_a_picture_is_told(client: Client) -> None:
    state = ended(client, sent(client, picture(9, (80, 60), format="JPEG")[:-300], model="tiny").json()["id"])
    assert state["state"] == "done"
    assert "cut short" in state["done"]["note"]


def test_options_of_another_type_are_refused_with_their_name(client: Client) -> None:
    answer = sent(client, picture(), steps="many")
    assert (answer.status_code, answer.json()["error"].startswith("steps: ")) == (422, True)
    assert client.post("/api/jobs", data={"steps": 1}).json()["error"].startswith("image: ")


@pytest.mark.parametrize(
    "options",
    [{"sampler": "dbim:steps=5000"}, {"sampler": "nobody"}, {"tile": 3}, {"model": "pixel-prior-tiny", "task": "x"}],
)
def test_options_that_the_library_refuses_fail_with_its_sentence(client: Client, options: dict[str, Any]) -> None:
    state = ended(client, sent(client, picture(), **options).json()["id"])
    assert state["state"] in ("failed", "done")
    if options.get("task") != "x":
        assert state["state"] == "failed"
        assert "/" not in state["error"].replace("and/or", "")


def test_health_and_the_description_of_the_api(client: Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/api/jobs", "/api/jobs/{id}", "/api/jobs/{id}/events", "/api/jobs/{id}/result", "/api/restore"} <= set(
        paths
    )
    about = client.get("/api/about").json()
    assert {model["name"] for model in about["models"]} >= {"rdbm-tiny", "pixel-prior-tiny", "tiny"}
    assert about["limits"]["pixels"] == 16_000_000
    for path in ("/", "/docs", "/static/page.js"):
        assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\pictures\\a.png", "a.png"),
        ("", "picture"),
        ("...", "picture"),
        ('a"b\r\n.png', "ab.png"),
        ("x" * 300 + ".png", "x" * 120 + ".png"),
        ("写真.jpg", "写真.jpg"),
    ],
)
def test_names_are_kept_as_far_as_they_are_names(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_the_example_of_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "app.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"<!-- tested -->\n```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "photo.jpg").write_bytes(picture(format="JPEG"))
    monkeypatch.chdir(tmp_path)
    with listening(Limits()) as address:
        exec(compile(code.replace("http://127.0.0.1:8000", address), "example", "exec"), {})
    assert Image.open("restored.jpg").size == (40, 32)


def test_the_limits_of_the_documentation_are_those_of_the_server() -> None:
    page = (Path(__file__).parents[2] / "docs" / "app.md").read_text(encoding="utf-8")
    limits = Limits()
    for text in (
        f"{limits.upload_bytes // 10**6} MB, {limits.pixels // 10**6} megapixels",
        f"{limits.steps} steps, {limits.samples} samples",
        f"{limits.upload_seconds / 60:g} minutes a picture, {limits.uploads} pictures",
        f"{limits.visitor_waiting} pictures of one visitor, {limits.waiting} of all",
        f"{limits.job_seconds / 60:g} minutes each",
        f"more than {limits.kept_bytes // 10**9} GB",
    ):
        assert text in page
    assert (limits.kept_seconds, limits.absent_seconds) == (3600, 60)


def test_an_answer_says_where_its_time_went(client: Client) -> None:
    began = time.monotonic()
    answer = client.post("/api/restore", files={"image": ("a.png", picture(1))}, data={"model": "tiny"})
    taken = 1000 * (time.monotonic() - began)
    parts = dict(part.strip().split(";dur=") for part in answer.headers["server-timing"].split(","))
    assert list(parts) == ["receive", "read", "queue", "look", "restore", "write", "tell"]
    assert 0 < sum(map(float, parts.values())) < taken


def test_views_show_the_files_before_and_after(client: Client) -> None:
    data = picture(2)
    state = ended(client, sent(client, data, model="tiny").json()["id"])
    after = client.get(f"/api/jobs/{state['id']}/result").content
    for view, file in (("before", data), ("after", after)):
        address = f"/api/jobs/{state['id']}/views/{view}"
        shown, known = (np.asarray(Image.open(io.BytesIO(one)), float) for one in (client.get(address).content, file))
        assert np.abs(shown - known).mean() < 4
        assert client.get(address).content == client.get(address).content
    assert client.get(f"/api/jobs/{state['id']}/views/uncertainty").status_code == 404


@pytest.mark.parametrize("pixels", [0, 40 * 32, 10**6])
def test_pictures_that_did_not_stay_in_memory_are_read_again(server: Serving, pixels: int) -> None:
    pictures = [picture(seed) for seed in range(4)]
    with server(read_pixels=pixels) as visitor:
        mine = visitor()
        jobs = [sent(mine, data, model="tiny", seed=1).json()["id"] for data in pictures]
        found = [mine.get(f"/api/jobs/{ended(mine, number)['id']}/result").content for number in jobs]
        alone = [
            mine.post("/api/restore", files={"image": ("a.png", data)}, data={"model": "tiny", "seed": "1"}).content
            for data in pictures
        ]
    for one, other in zip(found, alone, strict=True):
        first, second = (np.asarray(Image.open(io.BytesIO(file)), int) for file in (one, other))
        assert np.abs(first - second).max() <= 1


def test_formats_that_browsers_do_not_show_are_answered_too(client: Client) -> None:
    answer = client.post("/api/restore", files={"image": ("a.bmp", picture(1, format="BMP"))}, data={"model": "tiny"})
    assert (answer.status_code, Image.open(io.BytesIO(answer.content)).size) == (200, (40, 32))
