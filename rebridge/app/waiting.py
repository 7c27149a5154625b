"""Waiting for jobs, whose news is passed on at once."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from rebridge.app.jobs import UNFINISHED, WebJob

LONGEST_SECONDS, ALIVE_SECONDS = 0.1, 10.0
"""After which a job is looked at though it tells nothing, and a connection hears that it is alive."""


async def changed(job: WebJob, version: int) -> None:
    """Wait until a job is no longer of a version, at most `LONGEST_SECONDS`."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        with contextlib.suppress(RuntimeError):  # the server ends, and nobody waits any more
            loop.call_soon_threadsafe(told.set)

    job.listeners.append(tell)
    try:
        if job.version == version:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_SECONDS):
                    await told.wait()
    finally:
        job.listeners.remove(tell)


async def events(job: WebJob, describe: Callable[[WebJob], dict[str, Any]]) -> AsyncIterator[str]:
    """Yield server-sent events until a job has ended.

    Args:
        job: what is told of.
        describe: turns it into plain data.
    """
    job.watchers += 1
    version, sent, shown = -1, time.monotonic(), None
    try:
        while True:
            if job.version != version:
                version, sent = job.version, time.monotonic()
                told = describe(job)
                if job.preview is not None and job.preview is not shown:
                    shown = job.preview
                    told["preview"] = base64.b64encode(shown).decode()
                yield f"data: {json.dumps(told)}\n\n"
                if told["state"] not in UNFINISHED:
                    return
            elif time.monotonic() - sent > ALIVE_SECONDS:
                sent = time.monotonic()
                yield ": waiting\n\n"
            await changed(job, version)
    finally:
        job.watchers -= 1
        job.seen = time.monotonic()


def server_timing(spent: dict[str, float]) -> str:
    """Write seconds by stage as the header Server-Timing of the W3C.

    Browsers show it among the details of an answer.
    """
    return ", ".join(f"{stage};dur={1000 * seconds:.1f}" for stage, seconds in spent.items())
