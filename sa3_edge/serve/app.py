"""The HTTP API: what is asked of the service, and how it is answered."""

import base64
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import sa3_edge
from sa3_edge.audio.formats import encoding_for
from sa3_edge.errors import BundleError, RequestError, Sa3Error
from sa3_edge.serve import contracts, downloads, views
from sa3_edge.serve.bodies import SessionBody, read_json
from sa3_edge.serve.clip_folder import Clip
from sa3_edge.serve.events import KEEP_ALIVE, KEEP_ALIVE_SECONDS, event, event_stream
from sa3_edge.serve.jobs import Job
from sa3_edge.serve.live import Listener, Live
from sa3_edge.serve.memory import resident_bytes
from sa3_edge.serve.openapi import document
from sa3_edge.serve.pages import PAGES, page_routes
from sa3_edge.serve.problems import Problem, problem_of
from sa3_edge.serve.recordings import Recording
from sa3_edge.serve.security import COOKIE, SESSION, UPLOADS, Guard, Limiter, session_of, token_matches
from sa3_edge.serve.service import GenerationJob, Service
from sa3_edge.serve.settings import Settings

_PAGE_SIZE, _LARGEST_PAGE = 50, 200
_THREADS = 4  # requests that read files or decode a recording at a time


def create_app(settings: Settings) -> Starlette:
    """The server as an ASGI application. Its lifespan starts and stops the worker."""
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await to_thread.run_sync(service.start)
        try:
            yield
        finally:
            await to_thread.run_sync(service.stop)

    api = Api(service)
    routes = [
        *page_routes(),
        Route("/health", api.health),
        Route("/openapi.json", api.openapi),
        Route(SESSION, api.session, methods=["POST"]),
        Route("/v1/models", api.models),
        Route("/v1/events", api.all_events),
        Route("/v1/generations", api.generations),
        Route("/v1/generations", api.generate, methods=["POST"]),
        Route("/v1/generations/{id}", api.generation),
        Route("/v1/generations/{id}", api.delete, methods=["DELETE"]),
        Route("/v1/generations/{id}/events", api.events),
        Route("/v1/generations/{id}/audio", api.audio),
        Route("/v1/generations/{id}/picture", api.picture),
        Route(UPLOADS, api.upload, methods=["POST"]),
        Route(UPLOADS + "/{id}", api.recording),
        Route(UPLOADS + "/{id}/audio", api.recording_audio),
        Route(UPLOADS + "/{id}/picture", api.picture),
        *contracts.routes(service),
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[
            Middleware(Guard, settings=settings, open_paths=PAGES),
            Middleware(Limiter, limits=settings.limits),
        ],
        exception_handlers={Problem: _problem, Sa3Error: _sa3_error, HTTPException: _http_error},
    )
    app.state.service = service
    return app


class Api:
    """The handlers of /v1, but for the contracts of others."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._threads = CapacityLimiter(_THREADS)
        self._started = time.monotonic()
        self._drawn = lru_cache(maxsize=256)(downloads.drawn)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await to_thread.run_sync(function, *arguments, limiter=self._threads)

    async def health(self, request: Request) -> Response:
        service = self._service
        running = service.queue.running()
        return _json(
            views.HealthView(
                status="ok",
                version=sa3_edge.__version__,
                engine=service.settings.engine,
                model=service.settings.model,
                loaded=service.warm.loaded,
                folder=str(service.folder.path),
                running=running.id if running else None,
                waiting=service.queue.waiting(),
                queue=service.queue.length,
                memory=resident_bytes(),
                uptime_seconds=round(time.monotonic() - self._started, 1),
            )
        )

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(document(self._service.settings))

    async def session(self, request: Request) -> Response:
        """Exchange the token for a cookie, so that a page's players and event streams can show it."""
        token = self._service.settings.token
        body = await read_json(request, SessionBody)
        if token is None:
            return Response(status_code=204)
        if not token_matches(body.token, token):
            raise Problem(401, "token_needed", "this is not the server's token", {"WWW-Authenticate": "Bearer"})
        response = Response(status_code=204)
        response.set_cookie(COOKIE, session_of(token), httponly=True, samesite="strict", path="/")
        return response

    async def models(self, request: Request) -> Response:
        return _json(await self._in_thread(self._models))

    def _models(self) -> views.ModelList:
        service = self._service
        listed = []
        for name in service.models():
            default, loaded = name == service.settings.model, name == service.warm.loaded
            try:
                manifest = service.warm.bundle(name).manifest
            except (BundleError, RequestError) as error:
                listed.append(views.ModelView(name, name, default, loaded, False, 0.0, 0, 0, 0, 0.0, "", str(error)))
                continue
            audio, sampler = manifest.audio, manifest.sampler
            listed.append(
                views.ModelView(
                    name=name,
                    title=manifest.model.name,
                    default=default,
                    loaded=loaded,
                    synthetic=manifest.model.synthetic,
                    max_seconds=manifest.max_seconds,
                    sample_rate=audio.sample_rate,
                    channels=audio.channels,
                    steps=sampler.steps,
                    cfg=sampler.guidance,
                    licence=manifest.model.licence,
                    problem=None,
                )
            )
        return views.ModelList(listed)

    async def generate(self, request: Request) -> Response:
        body = await read_json(request, dict[str, Any])
        job = await self._in_thread(self._service.order, body)
        location = {"Location": f"/v1/generations/{job.id}"}
        return _json(views.view(job, self._service), 202, location)

    async def generations(self, request: Request) -> Response:
        limit = _number(request, "limit", _PAGE_SIZE, _LARGEST_PAGE)
        before = _text_of(request, "before")
        return _json(await self._in_thread(self._list, limit, before))

    def _list(self, limit: int, before: str | None) -> views.GenerationList:
        service = self._service
        jobs: list[GenerationJob] = service.queue.jobs()
        known = {job.id for job in jobs}
        clips = service.folder.clips()
        there = {clip.id for clip in clips}
        # A finished job whose file was deleted since is no longer anything to show.
        found: list[GenerationJob | Clip] = [job for job in jobs if job.status.state != "done" or job.id in there]
        found += [clip for clip in clips if clip.id not in known]
        found.sort(key=lambda each: each.created, reverse=True)
        start = 0
        if before is not None:
            start = 1 + next((index for index, each in enumerate(found) if each.id == before), len(found))
        page = found[start : start + limit]
        more = start + limit < len(found)
        return views.GenerationList([views.view(each, service) for each in page], page[-1].id if more else None)

    async def generation(self, request: Request) -> Response:
        found = await self._in_thread(self._find, request.path_params["id"])
        return _json(await self._in_thread(views.view, found, self._service))

    async def delete(self, request: Request) -> Response:
        """Cancel what waits or runs; delete a finished clip's file if that is said."""
        service = self._service
        found = await self._in_thread(self._find, request.path_params["id"])
        if isinstance(found, Job) and service.queue.cancel(found):
            return _json(views.view(found, service), 202)
        delete = _choice(request, "delete", ("true", "false")) == "true"
        clip = found.status.result if isinstance(found, Job) else found
        if clip is not None and not delete:
            raise Problem(409, "ended", "this generation has ended; ?delete=true deletes its file")
        if clip is not None:
            await self._in_thread(service.folder.remove, clip)
        service.queue.forget(found.id)
        return Response(status_code=204)

    async def events(self, request: Request) -> Response:
        found = await self._in_thread(self._find, request.path_params["id"])
        return event_stream(self._events(found))

    async def _events(self, found: GenerationJob | Clip) -> AsyncIterator[bytes]:
        queue, revision = self._service.queue, -1
        if isinstance(found, Clip):
            yield event("done", await self._in_thread(views.view, found, self._service))
            return
        async for _ in queue.changes(KEEP_ALIVE_SECONDS):
            status = found.status
            if status.revision == revision:
                yield KEEP_ALIVE
                continue
            revision = status.revision
            name = status.state if found.ended else "progress"
            yield event(name, await self._in_thread(views.view, found, self._service))
            if found.ended:
                return

    async def all_events(self, request: Request) -> Response:
        return event_stream(self._all_events())

    async def _all_events(self) -> AsyncIterator[bytes]:
        """Every change of any generation: one connection for a page that shows many."""
        queue = self._service.queue
        revision = queue.revision
        yield KEEP_ALIVE
        async for _ in queue.changes(KEEP_ALIVE_SECONDS):
            changed = sorted(
                (job for job in queue.jobs() if job.status.revision > revision), key=lambda job: job.status.revision
            )
            if not changed:
                yield KEEP_ALIVE
            for job in changed:
                revision = max(revision, job.status.revision)
                yield event("generation", await self._in_thread(views.view, job, self._service))

    async def audio(self, request: Request) -> Response:
        found = await self._in_thread(self._find, request.path_params["id"])
        kind = _asked_format(request)
        if isinstance(found, Job):
            live = await self._heard(found)
            if live is not None:
                return self._stream(found, live, kind)
            status = found.status
            if status.result is None:
                why = status.error or f"this generation is {status.state}; there is no sound"
                raise Problem(409, status.state, why)
            found = status.result
        return await self._sound(request, found.path, found.format, kind)

    async def _heard(self, job: GenerationJob) -> Live | None:
        """What there is to hear of a clip as soon as there is something; None when it has ended."""
        async for _ in self._service.queue.changes(KEEP_ALIVE_SECONDS):
            live = None if job.ended else self._service.live(job)
            if live is not None or job.ended:
                return live
        return None

    def _stream(self, job: GenerationJob, live: Live, kind: str | None) -> Response:
        """The sound while it is decoded; if that fails the connection is cut, so that nobody takes a part for all."""
        order = job.request
        encoding = order.encoding if kind in (None, order.encoding.format) else encoding_for(str(kind), None)
        listener = Listener(live, encoding)

        async def pieces() -> AsyncIterator[bytes]:
            try:
                async for _ in self._service.queue.changes(KEEP_ALIVE_SECONDS):
                    ended = job.ended  # before the news: all has come by then
                    news = listener.news()
                    while (data := await self._in_thread(next, news, None)) is not None:
                        yield data
                    if ended and job.status.state == "done":
                        yield await self._in_thread(listener.end)
                        return
                    if ended:
                        break
                raise ConnectionAbortedError(f"the clip is {job.status.state}")
            finally:
                listener.leave()

        return StreamingResponse(pieces(), media_type=downloads.MEDIA_TYPES[encoding.format])

    async def recording(self, request: Request) -> Response:
        return _json(_recording_view(await self._in_thread(self._find_recording, request.path_params["id"])))

    async def recording_audio(self, request: Request) -> Response:
        found = await self._in_thread(self._find_recording, request.path_params["id"])
        return await self._sound(request, found.path, found.path.suffix.removeprefix("."), _asked_format(request))

    async def _sound(self, request: Request, path: Path, stored: str, kind: str | None) -> Response:
        download = _choice(request, "download", ("true", "false")) == "true"
        disposition = "attachment" if download else "inline"
        if kind is None or kind == stored:
            media = downloads.MEDIA_TYPES.get(stored, "application/octet-stream")
            try:
                stat = await self._in_thread(path.stat)
            except OSError:
                raise Problem(404, "gone", "the file of this clip is not there any more") from None
            return FileResponse(
                path, media_type=media, filename=path.name, stat_result=stat, content_disposition_type=disposition
            )
        data = await self._in_thread(downloads.transcoded, path, kind)
        headers = {
            "Content-Disposition": f'{disposition}; filename="{path.stem.encode("ascii", "ignore").decode()}.{kind}"'
        }
        return Response(data, media_type=downloads.MEDIA_TYPES[kind], headers=headers)

    async def picture(self, request: Request) -> Response:
        columns = _number(request, "columns", 480, 2000)
        bands = _number(request, "bands", 64, 256)
        identifier = request.path_params["id"]
        if request.url.path.startswith(UPLOADS):
            path = (await self._in_thread(self._find_recording, identifier)).path
        else:
            clip = await self._in_thread(self._service.clip, identifier)
            if clip is None:
                raise Problem(404, "unknown", "no finished generation has this id")
            path = clip.path
        try:
            stat = await self._in_thread(path.stat)
        except OSError:
            raise Problem(404, "gone", "the file of this clip is not there any more") from None
        seconds, picture = await self._in_thread(self._drawn, path, stat.st_mtime_ns, columns, bands)
        return _json(
            views.PictureView(
                seconds=seconds,
                columns=len(picture.lows),
                bands=bands,
                lows=picture.lows.tolist(),
                highs=picture.highs.tolist(),
                spectrogram=base64.b64encode(picture.spectrogram.tobytes()).decode(),
            ),
            headers={"Cache-Control": "private, max-age=3600"},
        )

    async def upload(self, request: Request) -> Response:
        if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise Problem(415, "not_multipart", "send the recording as multipart/form-data, in the field `file`")
        async with request.form(max_files=1, max_fields=4) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise Problem(422, "no_file", "there is no file in the field `file`")
            recording = await self._in_thread(self._service.recordings.add, file.file)
        return _json(_recording_view(recording), 201, {"Location": f"{UPLOADS}/{recording.id}"})

    def _find(self, identifier: str) -> GenerationJob | Clip:
        found = self._service.find(identifier)
        if found is None:
            raise Problem(404, "unknown", "no generation has this id")
        return found

    def _find_recording(self, identifier: str) -> Recording:
        found = self._service.recordings.find(identifier)
        if found is None:
            raise Problem(404, "unknown", "no recording has this id")
        return found


def _json(data: msgspec.Struct, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(data), status, headers, "application/json")


def _recording_view(recording: Recording) -> views.RecordingView:
    return views.RecordingView(
        recording.id, recording.seconds, recording.sample_rate, recording.channels, recording.bytes
    )


def _number(request: Request, name: str, usual: int, most: int) -> int:
    text = _text_of(request, name)
    if text is None:
        return usual
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= most:
        raise Problem(422, "invalid", f"{name} must be a whole number from 1 to {most}")
    return int(text)


def _choice(request: Request, name: str, choices: tuple[str, ...]) -> str | None:
    text = _text_of(request, name)
    if text is not None and text not in choices:
        raise Problem(422, "invalid", f"{name} must be one of {', '.join(choices)}")
    return text


def _text_of(request: Request, name: str) -> str | None:
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise Problem(422, "invalid", f"{name} is given twice")
    return values[0] if values else None


def _asked_format(request: Request) -> str | None:
    """By ?format, else by Accept; None is as stored."""
    kind = _choice(request, "format", tuple(downloads.MEDIA_TYPES))
    return kind or downloads.accepted(request.headers.get("accept", "*/*"))


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _sa3_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, Sa3Error)
    return problem_of(error).response()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    problem = Problem(error.status_code, "http", error.detail, dict(error.headers or {}))
    return problem.response()
