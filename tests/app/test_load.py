"""Many clients at once: polite refusals, no mixed-up results, bounded memory; and uploads that mean harm."""

from __future__ import annotations

import asyncio
import io
import random
import resource
import socket
import struct
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra app is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

import httpx

from rebridge.app.limits import Limits
from rebridge.app.server import _listener
from rebridge.commands.options import ServeOptions
from tests.app.servers import listening, picture

CLIENTS = 50
MOST_GROWTH = 600_000
"""Kilobytes that the process may grow by."""


class Tally:
    """What the clients met."""

    def __init__(self) -> None:
        self.done = self.refused = 0
        self.wrong: list[str] = []


async def one_client(address: str, number: int, until: float, tally: Tally) -> None:
    """Send pictures of its own, and compare what comes back; at strength 0 that is the picture itself."""
    clock = asyncio.get_running_loop().time
    async with httpx.AsyncClient(base_url=address, timeout=120, verify=False, trust_env=False) as client:
        while clock() < until:
            size = (40 + 8 * (number % 4), 32)
            data = picture(number, size)
            form = {"model": "tiny", "steps": "1", "strength": "0"}
            answer = await client.post("/api/restore", files={"image": (f"{number}.png", data)}, data=form)
            if answer.status_code in (429, 503):
                tally.refused += 1
                assert int(answer.headers["retry-after"]) > 0
                assert answer.json()["error"]
                await asyncio.sleep(0.2)
            elif answer.status_code != 200:
                tally.wrong.append(f"{answer.status_code}: {answer.text[:100]}")
            else:
                found = np.asarray(Image.open(io.BytesIO(answer.content)))
                if not np.array_equal(found, np.asarray(Image.open(io.BytesIO(data)))):
                    tally.wrong.append(f"client {number} got another picture")
                if f'filename="{number}.png"' not in answer.headers["content-disposition"]:
                    tally.wrong.append(f"client {number} got another name")
                tally.done += 1


def load(model: Path, seconds: float) -> Tally:
    tally = Tally()

    async def all_clients(address: str) -> None:
        until = asyncio.get_running_loop().time() + seconds
        await asyncio.gather(*(one_client(address, number, until, tally) for number in range(CLIENTS)))

    with listening(Limits(), (str(model),)) as address:
        with httpx.Client(base_url=address, timeout=60) as client:
            client.post("/api/restore", files={"image": ("a.png", picture())}, data={"model": "tiny"})
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        asyncio.run(all_clients(address))
        growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        with httpx.Client(base_url=address) as client:
            assert client.get("/healthz").status_code == 200
    assert tally.wrong == []
    assert tally.done >= seconds
    assert growth < MOST_GROWTH
    return tally


def test_fifty_clients_at_once_get_their_own_pictures(model: Path) -> None:
    load(model, 3)


@pytest.mark.slow
def test_fifty_clients_for_a_minute_get_their_own_pictures(model: Path) -> None:
    load(model, 60)


def lying_uploads(count: int) -> list[bytes]:
    """Pictures whose headers lie: sizes, depths, lengths of chunks, and formats that they are not."""
    draw = random.Random(0)
    found = []
    for number in range(count):
        width, height = (draw.choice([0, 1, 7, 4000, 60_000, 2**31 - 1]) for _ in range(2))
        header = struct.pack(
            ">IIBBBBB",
            width,
            height,
            draw.choice([1, 8, 16, 77]),
            draw.choice([0, 2, 3, 6, 9]),
            0,
            0,
            draw.choice([0, 1, 5]),
        )
        chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(draw.randrange(2000)))), (b"IEND", b"")]
        data = b"\x89PNG\r\n\x1a\n"
        for name, body in chunks:
            length = len(body) if draw.random() < 0.8 else draw.randrange(2**31)
            data += struct.pack(">I", length) + name + body + struct.pack(">I", zlib.crc32(name + body))
        heads = [
            b"",
            b"\xff\xd8\xff\xe0",
            b"GIF89a",
            b"II*\0",
            b"RIFF\xff\xff\xff\x7fWEBPVP8L",
            b"\0\0\0\x20ftypavif",
            b"BM\xff\xff",
        ]
        found.append(heads[number % len(heads)] + data if number % 2 else data)
    return found


def malformed_bodies(count: int) -> list[bytes]:
    """Bodies that are not quite multipart."""
    draw = random.Random(1)
    whole = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        + picture()
        + b'\r\n--b\r\nContent-Disposition: form-data; name="steps"\r\n\r\n2\r\n--b--\r\n'
    )
    found = []
    for _ in range(count):
        data = bytearray(whole[: draw.randrange(len(whole))] if draw.random() < 0.5 else whole)
        for _ in range(draw.randrange(6)):
            data[draw.randrange(min(len(data), 150) or 1) : 0] = bytes([draw.randrange(256)])
        found.append(bytes(data))
    return found


def test_three_hundred_lying_and_malformed_uploads_change_nothing(model: Path) -> None:
    with listening(Limits(upload_seconds=2), (str(model),)) as address:
        place = urlsplit(address)
        with socket.create_connection((place.hostname, place.port)) as huge:
            head = f"POST /api/jobs HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {10**12}\r\n"
            huge.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n-".encode())
            assert b" 413 " in huge.recv(4096)
        slow = []
        for _ in range(4):  # these send a byte or nothing, and hold their place until they are cut off
            connection = socket.create_connection((place.hostname, place.port))
            head = f"POST /api/jobs HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 1000\r\n"
            connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n-".encode())
            slow.append(connection)
        codes: dict[int, int] = {}
        with httpx.Client(base_url=address, timeout=60) as client:

            def count(answer: Any) -> None:
                codes[answer.status_code] = codes.get(answer.status_code, 0) + 1
                text = answer.text
                assert not [word for word in ("Traceback", "/tmp", "site-packages", '.py"') if word in text], text
                if answer.status_code == 202:
                    client.delete(f"/api/jobs/{answer.json()['id']}")

            for data in lying_uploads(200):
                count(client.post("/api/jobs", files={"image": ("a.png", data)}, data={"model": "tiny"}))
            kind = {"content-type": "multipart/form-data; boundary=b"}
            for body in malformed_bodies(100):
                count(client.post("/api/jobs", content=body, headers=kind))
            assert set(codes) <= {202, 400, 413, 422, 429, 503}, codes
            assert sum(codes.values()) == 300
            answer = client.post("/api/restore", files={"image": ("a.png", picture())}, data={"model": "tiny"})
            assert answer.status_code == 200
        for connection in slow:
            connection.close()


def test_small_answers_are_sent_at_once() -> None:
    """Where TCP waits for more to send, each answer on a connection that is kept takes 40 ms."""
    server = _listener(ServeOptions(port=0))
    server.listen()
    with server, socket.create_connection(server.getsockname()):
        accepted, _ = server.accept()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP  # by which asyncio knows where to switch that off
