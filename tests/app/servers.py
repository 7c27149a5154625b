"""Servers for the tests: inside the process with a tiny untrained model, and one that listens."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image
from starlette.testclient import TestClient

from rebridge.app.api import create_app
from rebridge.app.guard import local_hosts
from rebridge.app.limits import Limits
from tests.cli.conftest import model

__all__ = ["model"]

LOCAL = local_hosts("127.0.0.1")
ADDRESS = "http://127.0.0.1"
Client = TestClient
Visitors = Callable[..., Client]


def picture(seed: int = 0, size: tuple[int, int] = (40, 32), format: str = "PNG", **options: Any) -> bytes:
    """A smooth picture as a file, different for each seed; size is (width, height)."""
    phase = np.random.default_rng(seed).uniform(0, 6, (3, 1, 1))
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]] / 8
    pixels = (127 + 100 * np.sin(rows + phase) * np.cos(columns + phase)).transpose(1, 2, 0).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def ended(client: Client, number: str, seconds: float = 60) -> dict[str, Any]:
    """The state of a job once it is neither waiting nor running."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        state: dict[str, Any] = client.get(f"/api/jobs/{number}").json()
        if state.get("state") not in ("waiting", "running"):
            return state
        time.sleep(0.02)
    raise AssertionError(f"the job has not ended: {state}")


def until_running(client: Client, number: str) -> None:
    for _ in range(1000):
        if client.get(f"/api/jobs/{number}").json()["state"] == "running":
            return
        time.sleep(0.02)
    raise AssertionError("the job does not run")


@contextmanager
def serving(model: Path, limits: Limits, **options: Any) -> Iterator[Visitors]:
    """Run a server, and make clients that are visitors of their own."""
    app = create_app(limits, (str(model),), "cpu", hosts=options.pop("hosts", LOCAL), **options)
    with TestClient(app, base_url=ADDRESS):

        def visitor(**changes: Any) -> Client:
            return TestClient(app, base_url=changes.pop("base_url", ADDRESS), **changes)

        yield visitor


Serving = Callable[..., AbstractContextManager[Visitors]]


@pytest.fixture
def server(model: Path) -> Serving:
    """Called with limits that differ from the default, and options of `create_app`."""

    def run(token: str | None = None, hosts: Any = LOCAL, **limits: Any) -> Any:
        return serving(model, Limits(**limits), token=token, hosts=hosts)

    return run


@pytest.fixture(scope="module")
def visitor(model: Path) -> Iterator[Visitors]:
    """Makes visitors of one server with the default limits."""
    with serving(model, Limits()) as made:
        yield made


@pytest.fixture
def client(visitor: Visitors) -> Client:
    return visitor()


@contextmanager
def listening(limits: Limits, models: tuple[str, ...] = ()) -> Iterator[str]:
    """Run a server on a free port of loopback; yields its address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    app = create_app(limits, models, "cpu", hosts=LOCAL)
    config = uvicorn.Config(app, log_level="error", server_header=False, timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        for _ in range(600):
            if running.started:
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(timeout=30)
