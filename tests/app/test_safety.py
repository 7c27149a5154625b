"""The server is safe: limits, visitors who do not see each other, answers without places, and nobody blocks the worker."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra app is not installed")

from starlette.testclient import TestClient

from rebridge.app.guard import SECURITY_HEADERS, local_hosts, loopback
from rebridge.app.limits import Limits
from tests.app.servers import Client, Serving, Visitors, ended, listening, picture, until_running

SLOW: dict[str, Any] = {"model": "tiny", "steps": 100, "samples": 16}


def sent(client: Client, data: bytes, name: str = "a.png", **options: Any) -> Any:
    return client.post("/api/jobs", files={"image": (name, data)}, data={"model": "tiny", **options})


def lying_png(width: int, height: int) -> bytes:
    """A PNG file whose header says more pixels than it has."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def assert_is_a_sentence(answer: Any) -> None:
    """One sentence, without a place of the server, a trace or a version."""
    text = answer.json()["error"]
    assert text
    assert not [word for word in ("Traceback", "/tmp", "/work", "site-packages", ".py", "\n") if word in text], text


def test_every_answer_has_the_security_headers(client: Client) -> None:
    for path in ("/", "/api/about", "/healthz", "/nothing", "/api/jobs/x", "/static/page.css"):
        headers = client.get(path).headers
        assert {name: headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
        assert "server" not in headers
    policy = SECURITY_HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(client: Client) -> None:
    cookie = client.get("/").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "set-cookie" not in client.get("/").headers


def test_the_page_of_a_space_stands_in_the_frame_of_its_site_alone() -> None:
    import runpy

    space = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "space" / "app.py"))
    with TestClient(space["make_app"](), base_url="https://owner-name.hf.space") as client:
        answer = client.get("/")
    assert answer.status_code == 200
    assert "frame-ancestors https://huggingface.co" in answer.headers["content-security-policy"]
    assert "x-frame-options" not in answer.headers
    assert answer.headers["set-cookie"].endswith("SameSite=None; Secure; Partitioned")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_two_visitors_at_once_never_see_each_others_pictures(visitor: Visitors) -> None:
    found: dict[int, list[Any]] = {}

    def use(seed: int) -> None:
        client = visitor()
        jobs = [sent(client, picture(seed * 10 + number), f"{seed}-{number}.png").json()["id"] for number in range(4)]
        states = [ended(client, job) for job in jobs]
        found[seed] = [client, jobs, states]

    threads = [threading.Thread(target=use, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, (client, jobs, states) in found.items():
        assert [state["name"] for state in states] == [f"{seed}-{number}.png" for number in range(4)]
        assert [job["id"] for job in client.get("/api/jobs").json()] == jobs
        for other in found[3 - seed][1]:
            for path in ("", "/result", "/events", "/views/after"):
                assert client.get(f"/api/jobs/{other}{path}").status_code == 404
            assert client.delete(f"/api/jobs/{other}").status_code == 404
    assert all(ended(client, job)["state"] == "done" for client, jobs, _ in found.values() for job in jobs)


def test_equal_requests_of_two_visitors_have_their_own_results(visitor: Visitors) -> None:
    clients = [visitor(), visitor()]
    answers = [
        client.post("/api/restore", files={"image": ("a.png", picture(seed))}, data={"model": "tiny"})
        for seed, client in enumerate(clients)
    ]
    assert answers[0].content != answers[1].content
    assert [len(client.get("/api/jobs").json()) for client in clients] == [1, 1]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        picture()[:60],
        picture(format="JPEG")[:200],
        b"II*\0" + b"\xff" * 60,
        b"RIFF\x10\0\0\0WEBPVP8 ",
        b"GIF89a" + b"\0" * 20,
    ],
    ids=["empty", "text", "svg", "pdf", "cut-png", "cut-jpeg", "tiff-of-ones", "cut-webp", "cut-gif"],
)
def test_what_is_no_whole_picture_is_refused_by_its_content(client: Client, data: bytes) -> None:
    answer = sent(client, data)
    assert answer.status_code == 400
    assert_is_a_sentence(answer)
    assert client.get("/api/jobs").json() == []


def test_headers_that_lie_about_the_size_are_refused(client: Client) -> None:
    for width, height in ((100_000, 100_000), (2**31 - 1, 1), (5000, 5000), (0, 5), (3000, 3000)):
        answer = sent(client, lying_png(width, height))
        assert answer.status_code == 400
        assert_is_a_sentence(answer)


def test_three_hundred_damaged_pictures_change_nothing(client: Client) -> None:
    random.seed(0)
    originals = [picture(format=kind) for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")]
    codes = set()
    for number in range(300):
        data = bytearray(originals[number % len(originals)])
        for _ in range(random.randint(1, 30)):
            data[random.randrange(len(data))] = random.randrange(256)
        answer = sent(client, bytes(data[: random.randint(1, len(data))]))
        codes.add(answer.status_code)
        if answer.status_code == 202:
            client.delete(f"/api/jobs/{answer.json()['id']}")
        else:
            assert_is_a_sentence(answer)
    assert codes <= {202, 400, 429}
    assert client.get("/healthz").status_code == 200


def test_an_undamaged_picture_is_restored_after_all_that(client: Client) -> None:
    assert ended(client, sent(client, picture()).json()["id"])["state"] == "done"


def test_uploads_that_are_too_large_are_refused(server: Serving) -> None:
    with server(upload_bytes=20_000, pixels=2_000) as visitor:
        client = visitor()
        answer = sent(client, b"x" * 30_000)
        assert (answer.status_code, answer.json()["error"]) == (413, "a picture may have at most 0.02 MB")

        def without_length() -> Any:
            yield from (b"x" * 1000 for _ in range(100))

        kind = {"content-type": "multipart/form-data; boundary=b"}
        assert client.post("/api/jobs", content=without_length(), headers=kind).status_code == 413
        answer = sent(client, picture(size=(60, 50)))
        assert answer.status_code == 400
        assert "60 x 50 pixels are more than the limit of 2,000" in answer.json()["error"]
        assert sent(client, picture()).status_code == 202


def test_an_upload_that_takes_too_long_is_ended() -> None:
    import socket
    from urllib.parse import urlsplit

    with listening(Limits(upload_seconds=0.5)) as address:
        place = urlsplit(address)
        with socket.create_connection((place.hostname, place.port)) as connection:
            head = f"POST /api/jobs HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 1000\r\n"
            connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n--b".encode())
            connection.settimeout(20)
            assert b" 408 " in connection.recv(4096).split(b"\r\n")[0] + b" "


def test_who_waits_for_a_result_keeps_nobody_from_sending(server: Serving) -> None:
    with server(uploads=1) as visitor:
        first, second = visitor(), visitor()
        first.get("/")
        files = {"image": ("a.png", picture(size=(400, 400)))}
        waiting = threading.Thread(
            target=lambda: first.post("/api/restore", files=files, data={"model": "tiny", "steps": 60})
        )
        waiting.start()
        while not first.get("/api/jobs").json():
            time.sleep(0.02)
        assert sent(second, picture()).status_code == 202
        waiting.join()


def test_queues_are_limited_for_each_visitor_and_for_all(server: Serving) -> None:
    with server(visitor_waiting=2, waiting=3) as visitor:
        first, second = visitor(), visitor()
        large = picture(size=(400, 400))
        assert [sent(first, large, **SLOW).status_code for _ in range(3)] == [202, 202, 429]
        codes = [sent(second, large, **SLOW) for _ in range(2)]
        assert [answer.status_code for answer in codes] == [202, 503]
        assert "the queue is full" in codes[1].json()["error"]
        assert int(codes[1].headers["retry-after"]) > 0


def test_nobody_waits_for_the_whole_list_of_somebody_else(server: Serving) -> None:
    with server() as visitor:
        first, second = visitor(), visitor()
        many = [sent(first, picture(size=(200, 200)), steps=60).json()["id"] for _ in range(14)]
        one = sent(second, picture()).json()["id"]
        assert ended(second, one)["state"] == "done"
        assert first.get(f"/api/jobs/{many[-1]}").json()["state"] == "waiting"


def test_work_that_takes_too_long_is_ended(server: Serving) -> None:
    with server(job_seconds=0.3) as visitor:
        client = visitor()
        state = ended(client, sent(client, picture(size=(500, 500)), **SLOW).json()["id"])
        assert state["state"] == "failed"
        assert "the limit for one picture" in state["error"]


def test_a_visitor_who_has_left_frees_the_worker(server: Serving) -> None:
    with server(absent_seconds=1.0) as visitor:
        gone, here = visitor(), visitor()
        left = sent(gone, picture(size=(500, 500)), **SLOW).json()["id"]
        until_running(gone, left)
        assert ended(here, sent(here, picture()).json()["id"], 30)["state"] == "done"
        assert gone.get(f"/api/jobs/{left}").json()["state"] == "cancelled"


def test_who_hangs_up_while_restore_waits_frees_the_worker() -> None:
    import httpx

    with listening(Limits()) as address, httpx.Client(base_url=address, timeout=60) as client:
        files = {"image": ("a.png", picture(size=(500, 500)))}
        client.get("/")
        with pytest.raises(httpx.ReadTimeout):
            client.post("/api/restore", files=files, data={"steps": 100, "samples": 16}, timeout=2)
        until = time.monotonic() + 20
        while (state := client.get("/api/jobs").json()[0]["state"]) != "cancelled":
            assert time.monotonic() < until, state
            time.sleep(0.05)


def test_results_vanish(server: Serving) -> None:
    with server(kept_seconds=0.5) as visitor:
        client = visitor()
        number = sent(client, picture()).json()["id"]
        until = time.monotonic() + 20
        while client.get(f"/api/jobs/{number}").status_code != 404:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert client.get(f"/api/jobs/{number}/result").status_code == 404


def test_the_oldest_results_vanish_where_all_are_too_large(server: Serving) -> None:
    with server(kept_bytes=1) as visitor:
        client = visitor()
        number = sent(client, picture()).json()["id"]
        until = time.monotonic() + 20
        while client.get(f"/api/jobs/{number}").status_code != 404:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_the_temporary_folder_vanishes_with_the_server(model: Path) -> None:
    from rebridge.app.api import create_app

    app = create_app(Limits(), (str(model),), "cpu")
    folder = app.state.jobs._folder
    with TestClient(app):
        assert folder.is_dir()
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


@pytest.mark.parametrize(
    "path",
    [
        "/static/../api.py",
        "/static/%2e%2e/api.py",
        "/static/..%2f..%2fcommands/options.py",
        "/static//etc/passwd",
        "/api/jobs/..%2f..%2fetc%2fpasswd/result",
        "/api/jobs/x/views/..%2f..%2fsource",
        "/..%5c..%5cetc",
    ],
)
def test_nothing_outside_is_readable(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert "error" in answer.json()


def test_unexpected_errors_are_sentences_too(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    from rebridge.app import work

    def broken(*words: Any, **options: Any) -> Any:
        raise RuntimeError("/secret/place.py, line 3, torch 9.9")

    monkeypatch.setattr(work, "restore_image", broken)
    with server() as visitor:
        client = visitor()
        state = ended(client, sent(client, picture()).json()["id"])
        assert state["error"] == "the picture could not be restored; the server has recorded why"
        assert ended(client, sent(client, picture()).json()["id"])["state"] == "failed"


def test_errors_of_the_library_name_no_places(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    from rebridge.app import work

    def broken(*words: Any, **options: Any) -> Any:
        raise ValueError("the file /var/lib/models/x.safetensors is damaged")

    monkeypatch.setattr(work, "restore_image", broken)
    with server() as visitor:
        client = visitor()
        assert ended(client, sent(client, picture()).json()["id"])["error"] == "the file a file is damaged"


def test_a_token_is_needed_where_there_is_one(server: Serving) -> None:
    token = "a-token/of 24 letters + x"
    with server(token=token, hosts=None) as visitor:
        client = visitor(follow_redirects=False)
        for path in ("/", "/api/about", "/api/jobs", "/static/page.js", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 401
        assert sent(client, picture()).status_code == 401
        assert client.get("/", params={"token": "wrong"}).status_code == 401
        assert client.get("/healthz").status_code == 200
        bearer = {"authorization": f"Bearer {token}"}
        assert client.get("/api/about", headers=bearer).status_code == 200
        entered = client.get("/", params={"token": token})
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        assert client.get("/").status_code == 200
        assert sent(client, picture()).status_code == 202


def test_pages_of_other_sites_are_not_answered(visitor: Visitors) -> None:
    client = visitor()
    for origin in ("http://evil.example", "null"):
        answer = client.post("/api/jobs", files={"image": picture()}, headers={"origin": origin})
        assert answer.status_code == 403
    assert visitor(base_url="http://evil.example").get("/api/about").status_code == 421
    own = client.post("/api/jobs", files={"image": picture()}, headers={"origin": "http://127.0.0.1"})
    assert own.status_code == 202


def test_loopback_is_told_from_other_addresses() -> None:
    assert all(loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.3.4.5"))
    assert not any(loopback(host) for host in ("0.0.0.0", "192.168.1.2", "::", "example.org"))
    assert local_hosts("0.0.0.0") is None


def test_without_the_extra_one_sentence_names_it() -> None:
    code = (
        "import sys\nsys.modules['fastapi'] = None\nsys.argv = ['rebridge', 'serve']\n"
        "from rebridge.cli import main\nmain()"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert found.stderr.strip().endswith("install the extra: pip install 'rebridge[app]'")
    assert len(found.stderr.strip().splitlines()) == 1


def test_a_port_that_is_taken_is_told_at_once() -> None:
    import socket

    from rebridge.app import serve
    from rebridge.commands.options import ServeOptions

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ValueError, match="choose another --port"):
            serve(ServeOptions(port=taken.getsockname()[1]), print)


def test_previews_hold_no_more_than_the_picture() -> None:
    import torch

    from rebridge.app.work import preview_jpeg

    for shape, size in (((3, 640, 960), (320, 213)), ((1, 20, 30), (30, 20)), ((3, 1, 5000), (320, 1))):
        assert Image.open(io.BytesIO(preview_jpeg(torch.rand(shape)))).size == size
