"""The API for people: what was found, the strength, masks, and pictures that are restored together."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra app is not installed")

from tests.app.servers import Client, Serving, ended, picture


def noisy(seed: int = 0, size: tuple[int, int] = (96, 80)) -> bytes:
    pixels = np.asarray(Image.open(io.BytesIO(picture(seed, size)))).astype(float)
    pixels += np.random.default_rng(seed).normal(0, 25, pixels.shape)
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def sent(client: Client, data: bytes, mask: bytes | None = None, **options: Any) -> Any:
    files = {"image": ("a.png", data)} | ({} if mask is None else {"mask": ("mask.png", mask)})
    return client.post("/api/jobs", files=files, data=options)


def pixels(client: Client, number: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(client.get(f"/api/jobs/{number}/result").content))).astype(float)


def test_the_state_says_what_was_found_and_how_certain_that_is(client: Client) -> None:
    state = ended(client, sent(client, noisy(), model="rdbm-small").json()["id"])
    first = state["found"][0]
    assert (first["kind"], first["certainty"]) == ("noise", "almost certainly")
    assert first["probability"] > 0.95
    assert state["found_words"].startswith("noise (almost certainly, 9")


def test_models_that_do_not_tell_have_found_nothing_said(client: Client) -> None:
    state = ended(client, sent(client, picture(), model="tiny").json()["id"])
    assert state["state"] == "done"
    assert state["found"] is None


def test_strength_blends_and_has_a_limit(client: Client) -> None:
    data = picture(3)
    found = [
        pixels(client, ended(client, sent(client, data, model="tiny", strength=s).json()["id"])["id"])
        for s in (0, 0.5, 1)
    ]
    assert np.array_equal(found[0], np.asarray(Image.open(io.BytesIO(data))))
    assert np.abs(found[1] - (found[0] + found[2]) / 2).max() <= 1
    assert sent(client, data, model="tiny", strength=-1).status_code == 422
    answer = sent(client, data, model="tiny", strength=9)
    assert (answer.status_code, answer.json()["error"]) == (400, "strength must be between 0 and 2 here, got 9")


def test_painted_places_are_filled_and_the_rest_is_kept(client: Client) -> None:
    data = picture(4)
    mask = np.zeros((32, 40), np.uint8)
    mask[8:14, 10:20] = 255
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    state = ended(client, sent(client, data, buffer.getvalue()).json()["id"])
    assert state["state"] == "done"
    assert "filled 4.7 % of the picture" in state["done"]["words"]
    before, after = np.asarray(Image.open(io.BytesIO(data))).astype(float), pixels(client, state["id"])
    assert np.array_equal(before[mask == 0], after[mask == 0])
    assert not np.array_equal(before[mask > 0], after[mask > 0])


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (picture(size=(8, 8)), "the mask must have the size of the picture, 40 x 32 pixels"),
        (b"no picture", "cannot be read as an image"),
    ],
)
def test_masks_that_do_not_fit_are_refused(client: Client, mask: bytes, sentence: str) -> None:
    answer = sent(client, picture(), mask)
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]


def test_pictures_restored_together_are_as_restored_alone(server: Serving, model: Path) -> None:
    data = [picture(seed) for seed in range(6)]
    found: dict[int, list[np.ndarray]] = {}
    for batch in (1, 8):
        with server(batch=batch) as visitor:
            clients = [visitor() for _ in data]
            blocker = visitor()
            sent(blocker, picture(size=(300, 300)), model="tiny", steps=10)
            numbers = [sent(client, one, model="tiny").json()["id"] for client, one in zip(clients, data, strict=True)]
            states = [ended(client, number) for client, number in zip(clients, numbers, strict=True)]
            found[batch] = [pixels(client, number) for client, number in zip(clients, numbers, strict=True)]
            assert {state["state"] for state in states} == {"done"}
    for alone, together in zip(found[1], found[8], strict=True):
        assert np.abs(alone - together).max() <= 1
    assert not np.array_equal(found[8][0], found[8][1])


def test_one_of_a_batch_can_be_cancelled_and_the_others_go_on() -> None:
    from rebridge.app.jobs import Jobs, WebJob
    from rebridge.app.limits import Limits

    began, go = threading.Event(), threading.Event()
    seen: list[int] = []

    def work(batch: list[WebJob], report: Any) -> None:
        seen.append(len(batch))
        began.set()
        assert go.wait(20)
        report(0.5)

    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jobs = Jobs(work, folder, Limits())
        added = []
        for number in range(4):
            source = folder / f"source-{number}"
            source.write_bytes(b"x")
            added.append(jobs.add(f"visitor {number}", "a.png", source, None, (10, 10), kind="alike"))
        jobs.start()
        assert began.wait(20)
        jobs.cancel(added[1])
        go.set()
        for job in added:
            while job.state in ("waiting", "running"):
                threading.Event().wait(0.01)
        jobs.close()
    assert seen == [4]
    assert [job.state for job in added] == ["done", "cancelled", "done", "done"]
