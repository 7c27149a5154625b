"""The routes of the server: jobs, their progress and their files, and the page."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import anyio
from fastapi import Depends, FastAPI, File, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from rebridge.app.files import MEDIA, archived, at_once, result_answer
from rebridge.app.guard import Guard
from rebridge.app.jobs import UNFINISHED, Jobs, RefusedError, WebJob
from rebridge.app.limits import Limits
from rebridge.app.waiting import changed, events, server_timing
from rebridge.app.work import Wanted, Worker, result_name, safe_name, view_file
from rebridge.commands.findings import kind_words
from rebridge.images import WRITABLE_SUFFIXES

STATIC = Path(__file__).parent / "static"
READERS = 2
"""Uploads that are decoded, and views that are made, at the same time."""
Picture = Annotated[UploadFile, File(description="The picture, in any format that rebridge reads.")]
Painted = Annotated[
    UploadFile | None,
    File(description="White where the picture is to be filled, of its size; nothing else is changed then."),
]
_T = TypeVar("_T")
View = Literal["before", "after", "changed", "uncertainty"]


async def wanted_options(
    model: Annotated[str, Form(description="One of those that /api/about lists.")] = Wanted.model,
    method: Annotated[str | None, Form(description="bridge or irbridge; by default the model's.")] = None,
    task: Annotated[
        str | None, Form(description="What to remove, as rain or haze+noise; of irbridge, its settings.")
    ] = None,
    sampler: Annotated[str | None, Form(description="As dbim or dbim:eta=1; by default the model's.")] = None,
    steps: Annotated[int | None, Form(description="Of the sampler; by default what the model recommends.")] = None,
    strength: Annotated[
        float,
        Form(description="Share of the change to make: 0 none, 1 what the model makes.", ge=0, allow_inf_nan=False),
    ] = 1.0,
    seed: Annotated[int, Form(description="The same seed gives the same result.", ge=0, lt=2**63)] = 0,
    samples: Annotated[int, Form(description="Restorations with different noise to average.")] = 1,
    tile: Annotated[int | None, Form(description="Side of the tiles in pixels, 0 for none.")] = None,
    overlap: Annotated[int | None, Form(description="Pixels that neighbouring tiles share.")] = None,
    format: Annotated[str | None, Form(description="png, jpg, webp or tiff; by default the picture's.")] = None,
    quality: Annotated[int | None, Form(description="Of JPEG, WebP, AVIF and JPEG XL, 1 to 100.")] = None,
) -> Wanted:
    """Read the options of a job from form fields named as on the command line.

    It is `async` though it waits for nothing: else it would be called in another thread.
    """
    texts = {"method": method, "task": task, "sampler": sampler, "format": format}
    given: dict[str, Any] = {key: value.strip().lower() or None for key, value in texts.items() if value is not None}
    numbers: dict[str, Any] = {"steps": steps, "seed": seed, "samples": samples, "tile": tile, "overlap": overlap}
    return Wanted(model=model, **given, **numbers, quality=quality, strength=strength)


FORM_FIELDS = tuple(signature(wanted_options).parameters)


async def only_known_fields(request: Request) -> None:
    """Refuse fields that would have no effect, and a second picture.

    Raises:
        RefusedError: a sentence that names them.
    """
    form = await request.form()
    for name in form:
        if name not in (*FORM_FIELDS, "image", "mask"):
            raise RefusedError(422, f"there is no option '{name}'; there are {', '.join(FORM_FIELDS)}")
    for name in ("image", "mask"):
        if len(form.getlist(name)) > 1:
            raise RefusedError(422, f"{name}: one file at a time, got {len(form.getlist(name))}")


Options = Annotated[Wanted, Depends(wanted_options)]
CHECKED = [Depends(only_known_fields)]


def create_app(
    limits: Limits | None = None,
    models: tuple[str, ...] = (),
    device: str | None = None,
    token: str | None = None,
    hosts: frozenset[str] | None = None,
    framed_by: str | None = None,
) -> FastAPI:
    """Make the application.

    Args:
        limits: what it takes on.
        models: to offer besides the packaged ones.
        device: of the models.
        token: that visitors must know, or None.
        hosts: names by which it may be addressed; None for any.
        framed_by: origin of a site that shows the page inside its own, by HTTPS; None for no site.

    Raises:
        ModelError: a model that there is not.
    """
    service = Service(limits or Limits(), models, device)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.jobs.start()
        yield
        await anyio.to_thread.run_sync(service.jobs.close)

    app = FastAPI(
        title="rebridge",
        summary="Restore images with diffusion bridges.",
        version="1",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.jobs = service.jobs
    _errors(app)
    _job_routes(app, service)
    _file_routes(app, service)
    _page_routes(app, service)
    app.add_middleware(Guard, limits=service.limits, token=token, hosts=hosts, framed_by=framed_by)
    return app


class Service:
    """The parts behind the routes: folder, worker and jobs.

    Args:
        limits: what is taken on.
        models: to offer besides the packaged ones.
        device: of the models.
    """

    def __init__(self, limits: Limits, models: tuple[str, ...], device: str | None) -> None:
        self.limits = limits
        self.worker = Worker(limits, models, device)
        self.folder = Path(tempfile.mkdtemp(prefix="rebridge-"))
        self.jobs = Jobs(self._work, self.folder, limits, self.worker.prepare)
        self._readers: anyio.CapacityLimiter | None = None
        self._number, self._lock = 0, threading.Lock()

    def _work(self, batch: list[WebJob], report: Any) -> None:
        self.worker.work(batch, report, self.jobs.show)

    async def take(self, request: Request, image: UploadFile, wanted: Wanted, mask: UploadFile | None = None) -> WebJob:
        """Put an uploaded picture into the queue, once it was read.

        Raises:
            RefusedError: a picture or options that are impossible, or a full queue.
        """
        visitor = _visitor(request)
        self.jobs.check_room(visitor)
        received = time.monotonic() - request.scope["state"]["began"]
        return await self._reading(self._taken, visitor, image, wanted, mask, received)

    async def view(self, job: WebJob, name: View) -> Path:
        """Make a picture for the page, which only some ask for.

        Raises:
            RefusedError: there is none of that name.
        """
        if job.state != "done" or name not in job.views:
            raise RefusedError(404, "there is no such view of this picture")
        return await self._reading(view_file, job, name)

    async def _reading(self, work: Callable[..., _T], *given: Any) -> _T:
        """Do the work of a few threads that read pictures."""
        if self._readers is None:
            self._readers = anyio.CapacityLimiter(READERS)
        return await anyio.to_thread.run_sync(work, *given, limiter=self._readers)

    def _taken(
        self, visitor: str, image: UploadFile, wanted: Wanted, mask: UploadFile | None, received: float
    ) -> WebJob:
        began = time.monotonic()
        with self._lock:
            self._number += 1
            source = self.folder / f"upload-{self._number}"
        masked = None if mask is None else source.with_suffix(".mask")
        try:
            _stored(image, source)
            if mask is not None and masked is not None:
                _stored(mask, masked)
            read, kind = self.worker.check(source, wanted, masked)
            name, size = safe_name(image.filename), read[0].size
            spent = {"receive": received, "read": time.monotonic() - began}
            return self.jobs.add(visitor, name, source, wanted, size, kind, masked, read, spent)
        finally:
            for path in (source, masked):
                if path is not None:
                    path.unlink(missing_ok=True)

    def state(self, job: WebJob) -> dict[str, Any]:
        """Describe a job in plain data."""
        left = None if job.finished is None else self.limits.kept_seconds - (time.monotonic() - job.finished)
        return {
            "id": job.id,
            "name": job.name,
            "state": job.state,
            "before_it": self.jobs.place(job),
            "progress": round(job.progress, 4),
            "width": job.size[0],
            "height": job.size[1],
            "error": job.error,
            "found": job.found,
            "found_words": job.found_words,
            "done": job.facts or None,
            "result": result_name(job) if job.state == "done" else None,
            "views": list(job.views) if job.state == "done" else [],
            "vanishes_in": None if left is None else max(round(left), 0),
        }


def _stored(upload: UploadFile, path: Path) -> None:
    with open(path, "xb") as file:
        shutil.copyfileobj(upload.file, file)


def _visitor(request: Request) -> str:
    return str(request.scope["state"]["visitor"])


def _job_routes(app: FastAPI, service: Service) -> None:
    jobs = service.jobs

    @app.post("/api/jobs", status_code=202, dependencies=CHECKED)
    async def add_job(request: Request, image: Picture, options: Options, mask: Painted = None) -> dict[str, Any]:
        """Put a picture into the queue; the answer has its id. Keep the cookie: jobs belong to their visitor."""
        return service.state(await service.take(request, image, options, mask))

    @app.get("/api/jobs")
    async def list_jobs(request: Request) -> list[dict[str, Any]]:
        """List your pictures, the oldest first."""
        return [service.state(job) for job in jobs.of(_visitor(request))]

    @app.get("/api/jobs/{id}")
    async def job_state(request: Request, id: str) -> dict[str, Any]:
        """Say how far a picture is, what was found in it, and once it is done what was done."""
        return service.state(jobs.get(_visitor(request), id))

    @app.delete("/api/jobs/{id}")
    async def cancel_job(request: Request, id: str) -> dict[str, Any]:
        """Cancel a picture that is not restored yet; remove one that is."""
        job = jobs.get(_visitor(request), id)
        jobs.cancel(job)
        return service.state(job)

    @app.get("/api/jobs/{id}/events", response_class=StreamingResponse)
    async def job_events(request: Request, id: str) -> StreamingResponse:
        """Tell the progress by server-sent events; `preview` is a small JPEG of the estimate, in Base64."""
        job = jobs.get(_visitor(request), id)
        return StreamingResponse(events(job, service.state), media_type="text/event-stream")

    @app.post("/api/restore", response_class=FileResponse, dependencies=CHECKED)
    async def restore(request: Request, image: Picture, options: Options, mask: Painted = None) -> Response:
        """Restore a picture and answer with the file; who leaves before has it cancelled."""
        job = await service.take(request, image, options, mask)
        job.watchers, version = job.watchers + 1, job.version
        try:
            while job.state in UNFINISHED:
                if await request.is_disconnected():
                    jobs.cancel(job, "cancelled, as nobody waited for it")
                    raise RefusedError(499, "you have left")
                await changed(job, version)
                version = job.version
        finally:
            job.watchers -= 1
            if job.state in UNFINISHED:
                jobs.cancel(job, "cancelled, as nobody waited for it")
        if job.state != "done":
            raise RefusedError(422, job.error or "the picture could not be restored")
        answer = at_once(result_answer(job))
        told = time.monotonic() - (job.finished or 0.0)
        answer.headers["Server-Timing"] = server_timing({**job.spent, "tell": told})
        return answer


def _file_routes(app: FastAPI, service: Service) -> None:
    jobs = service.jobs

    @app.get("/api/jobs/{id}/result", response_class=FileResponse)
    async def job_result(request: Request, id: str) -> FileResponse:
        """Answer with the restored file: name, metadata and bits are those of the picture."""
        return result_answer(jobs.get(_visitor(request), id))

    @app.get("/api/jobs/{id}/views/{view}", response_class=FileResponse)
    async def job_view(request: Request, id: str, view: View) -> FileResponse:
        """Answer with a picture that every browser shows: before, after, what changed, where samples differ."""
        job = jobs.get(_visitor(request), id)
        shown = await service.view(job, view)
        return FileResponse(shown, media_type=MEDIA[shown.suffix])

    @app.get("/api/results.zip", response_class=FileResponse)
    async def all_results(request: Request) -> FileResponse:
        """Answer with all your restored pictures in one ZIP file."""
        done = [job for job in jobs.of(_visitor(request)) if job.state == "done" and job.result is not None]
        if not done:
            raise RefusedError(404, "no picture is restored yet")
        archive = await anyio.to_thread.run_sync(archived, service.folder, done)
        remove = BackgroundTask(archive.unlink, missing_ok=True)
        return FileResponse(archive, media_type="application/zip", filename="restored.zip", background=remove)


def _page_routes(app: FastAPI, service: Service) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Say that the server answers."""
        return {"status": "ok"}

    @app.get("/api/about")
    async def about() -> dict[str, Any]:
        """List models, formats and limits."""
        offered = [asdict(model) | {"method": model.method} for model in service.worker.offered.values()]
        formats = [suffix[1:] for suffix in WRITABLE_SUFFIXES]
        words = {kind: kind_words(kind) for model in offered for kind in model["tasks"]}
        limits = asdict(service.limits)
        return {"models": offered, "default": Wanted.model, "words": words, "formats": formats, "limits": limits}

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(STATIC / "docs.html")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")


def _errors(app: FastAPI) -> None:
    """Answer every error with one sentence: no trace, no place, no version."""

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> Response:
        headers = {} if error.retry is None else {"Retry-After": str(error.retry)}
        return JSONResponse({"error": str(error)}, error.status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        parts = [f"{found['loc'][-1]}: {str(found['msg']).lower()}" for found in error.errors()]
        return JSONResponse({"error": "; ".join(parts)}, 422)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        sentences = {404: "there is nothing at this address", 405: "this address is not used in this way"}
        return JSONResponse({"error": sentences.get(error.status_code, str(error.detail).lower())}, error.status_code)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "something went wrong on the server, which has recorded it"}, 500)
