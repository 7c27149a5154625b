"""The page of rebridge on a Space of Hugging Face: public, on two cores, with smaller limits than at home."""

from __future__ import annotations

import os

import uvicorn
from fastapi import FastAPI

from rebridge.app.api import create_app
from rebridge.app.limits import Limits

LIMITS = Limits(
    pixels=4_000_000, upload_bytes=20_000_000, steps=25, samples=4, waiting=40, visitor_waiting=6, job_seconds=180.0
)


def make_app() -> FastAPI:
    """The application that the Space serves."""
    return create_app(LIMITS, framed_by="https://huggingface.co")


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "7860"))
    uvicorn.run(make_app(), host="0.0.0.0", port=port, log_level="warning", server_header=False)
