"""Limits of the server, which the page names before a picture is sent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Most that one server takes on.

    Attributes:
        upload_bytes: of one picture with its options.
        upload_seconds: that a request may take to arrive.
        uploads: requests with a picture that arrive at the same time.
        pixels: of one picture.
        steps: of the sampler.
        samples: of one picture.
        strength: of the change.
        read_pixels: of pictures in the queue that stay in memory as they were read, all together; the others are read again.
        batch: pictures of one size and with the same options that are restored together.
        batch_pixels: of such pictures, all together.
        waiting: pictures in the queue, of all visitors together.
        visitor_waiting: pictures in the queue, of one visitor.
        job_seconds: of work on one picture.
        kept_seconds: until a finished picture vanishes.
        kept_bytes: of all finished pictures; the oldest vanish first.
        absent_seconds: until the unfinished pictures of a visitor who has left are cancelled.
    """

    upload_bytes: int = 50_000_000
    upload_seconds: float = 120.0
    uploads: int = 8
    pixels: int = 16_000_000
    steps: int = 100
    samples: int = 16
    strength: float = 2.0
    read_pixels: int = 4_000_000
    batch: int = 8
    batch_pixels: int = 1_000_000
    waiting: int = 100
    visitor_waiting: int = 20
    job_seconds: float = 600.0
    kept_seconds: float = 3600.0
    kept_bytes: int = 4_000_000_000
    absent_seconds: float = 60.0
