"""Waiting for jobs: news comes at once, and silence ends too."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra app is not installed")

from rebridge.app.jobs import Jobs, WebJob
from rebridge.app.limits import Limits
from rebridge.app.waiting import LONGEST_SECONDS, changed, server_timing


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(lambda batch, report: None, tmp_path, Limits())


def job(folder: Path) -> WebJob:
    return WebJob("1", "somebody", "a.png", folder, None, (4, 4))


def test_news_of_another_thread_ends_the_wait_at_once(jobs: Jobs, tmp_path: Path) -> None:
    waited = job(tmp_path)

    async def wait() -> float:
        threading.Timer(0.02, jobs.show, (waited, b"estimate")).start()
        began = time.monotonic()
        await changed(waited, waited.version)
        return time.monotonic() - began

    times = [asyncio.run(wait()) for _ in range(5)]
    assert min(times) < 0.6 * LONGEST_SECONDS
    assert waited.listeners == []


def test_silence_ends_the_wait_after_a_while(tmp_path: Path) -> None:
    waited = job(tmp_path)
    began = time.monotonic()
    asyncio.run(changed(waited, waited.version))
    assert time.monotonic() - began >= LONGEST_SECONDS
    assert waited.listeners == []


def test_news_from_before_are_not_waited_for(jobs: Jobs, tmp_path: Path) -> None:
    waited = job(tmp_path)
    version = waited.version
    jobs.show(waited, b"estimate")
    began = time.monotonic()
    asyncio.run(changed(waited, version))
    assert time.monotonic() - began < LONGEST_SECONDS


def test_stages_are_written_as_the_header_has_them() -> None:
    assert server_timing({"read": 0.0021, "restore": 1.5}) == "read;dur=2.1, restore;dur=1500.0"
