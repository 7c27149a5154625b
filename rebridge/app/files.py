"""Results of jobs as answers: a file, its content, or an archive of many."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

from fastapi.responses import FileResponse, Response

from rebridge.app.jobs import UNFINISHED, RefusedError, WebJob
from rebridge.app.work import result_name

AT_ONCE_BYTES = 2**20
"""Size of files that are read whole for an answer."""
MEDIA = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
MEDIA |= {".tif": "image/tiff", ".tiff": "image/tiff"}


def result_answer(job: WebJob) -> FileResponse:
    """Answer with the result of a job.

    Raises:
        RefusedError: it is not done, or failed.
    """
    if job.state in UNFINISHED:
        raise RefusedError(409, "the picture is not restored yet", 1)
    if job.state != "done" or job.result is None:
        raise RefusedError(410, f"there is no result: {job.error}")
    return FileResponse(job.result, media_type=MEDIA.get(job.result.suffix), filename=result_name(job))


def at_once(answer: FileResponse) -> Response:
    """Answer with the content of a file, if it is small.

    Reading it takes less time than threads need to hand it over.
    """
    content = Path(answer.path)
    if content.stat().st_size > AT_ONCE_BYTES:
        return answer
    return Response(content.read_bytes(), headers=dict(answer.headers))


def archived(folder: Path, done: list[WebJob]) -> Path:
    """Write results into a ZIP file in a folder, each under a name of its own."""
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".zip", delete=False) as file:
        names: set[str] = set()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for job in done:
                name, number = result_name(job), 1
                stem, _, ending = name.rpartition(".")
                while name.lower() in names:
                    number += 1
                    name = f"{stem} ({number}).{ending}"
                names.add(name.lower())
                assert job.result is not None
                archive.write(job.result, name)
    return Path(file.name)
