"""What is heard and seen: clips, also while they are decoded, uploaded recordings, and their pictures."""

import base64
from collections.abc import AsyncIterator
from functools import lru_cache
from os import stat_result
from pathlib import Path

from anyio import CapacityLimiter
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from sa3_edge.audio.formats import encoding_for
from sa3_edge.serve import downloads, views
from sa3_edge.serve.events import KEEP_ALIVE_SECONDS
from sa3_edge.serve.handlers import Handlers, as_json, choice_in, number_in
from sa3_edge.serve.jobs import Job
from sa3_edge.serve.live import Listener, Live
from sa3_edge.serve.problems import Problem
from sa3_edge.serve.recordings import Recording
from sa3_edge.serve.security import UPLOADS
from sa3_edge.serve.service import GenerationJob, Service


class Sounds(Handlers):
    """The handlers of audio, pictures and uploads."""

    def __init__(self, service: Service, threads: CapacityLimiter) -> None:
        super().__init__(service, threads)
        self._drawn = lru_cache(maxsize=256)(downloads.drawn)

    async def upload(self, request: Request) -> Response:
        if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise Problem(415, "not_multipart", "send the recording as multipart/form-data, in the field `file`")
        async with request.form(max_files=1, max_fields=4) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise Problem(422, "no_file", "there is no file in the field `file`")
            recording = await self.in_thread(self.service.recordings.add, file.file)
        return as_json(_recording_view(recording), 201, {"Location": f"{UPLOADS}/{recording.id}"})

    async def audio(self, request: Request) -> Response:
        found = await self.in_thread(self.find, request.path_params["id"])
        format = _asked_format(request)
        if isinstance(found, Job):
            live = await self._heard(found)
            if live is not None:
                return self._stream(found, live, format)
            status = found.status
            if status.result is None:
                why = status.error or f"this generation is {status.state}; there is no sound"
                raise Problem(409, status.state, why)
            found = status.result
        return await self._sound(request, found.path, found.format, format)

    async def _heard(self, job: GenerationJob) -> Live | None:
        """What there is to hear of a clip as soon as there is something; None when it has ended."""
        async for _ in self.service.queue.changes(KEEP_ALIVE_SECONDS):
            live = None if job.ended else self.service.live(job)
            if live is not None or job.ended:
                return live
        return None

    def _stream(self, job: GenerationJob, live: Live, format: str | None) -> Response:
        """The sound while it is decoded; if that fails the connection is cut, so that nobody takes a part for all."""
        order = job.request
        encoding = order.encoding if format in (None, order.encoding.format) else encoding_for(str(format), None)
        listener = Listener(live, encoding)

        async def pieces() -> AsyncIterator[bytes]:
            try:
                async for _ in self.service.queue.changes(KEEP_ALIVE_SECONDS):
                    ended = job.ended  # before the news: all has come by then
                    news = listener.news()
                    while (data := await self.in_thread(next, news, None)) is not None:
                        yield data
                    if ended and job.status.state == "done":
                        yield await self.in_thread(listener.end)
                        return
                    if ended:
                        break
                raise ConnectionAbortedError(f"the clip is {job.status.state}")
            finally:
                listener.leave()

        return StreamingResponse(pieces(), media_type=downloads.MEDIA_TYPES[encoding.format])

    async def recording(self, request: Request) -> Response:
        return as_json(_recording_view(await self.in_thread(self._recording_of, request.path_params["id"])))

    async def recording_audio(self, request: Request) -> Response:
        found = await self.in_thread(self._recording_of, request.path_params["id"])
        return await self._sound(request, found.path, found.path.suffix.removeprefix("."), _asked_format(request))

    async def _sound(self, request: Request, path: Path, stored: str, format: str | None) -> Response:
        download = choice_in(request, "download", ("true", "false")) == "true"
        disposition = "attachment" if download else "inline"
        if format is None or format == stored:
            media = downloads.MEDIA_TYPES.get(stored, "application/octet-stream")
            stat = await self._stat(path)
            return FileResponse(
                path, media_type=media, filename=path.name, stat_result=stat, content_disposition_type=disposition
            )
        data = await self.in_thread(downloads.transcoded, path, format)
        headers = {
            "Content-Disposition": f'{disposition}; filename="{path.stem.encode("ascii", "ignore").decode()}.{format}"'
        }
        return Response(data, media_type=downloads.MEDIA_TYPES[format], headers=headers)

    async def picture(self, request: Request) -> Response:
        columns = number_in(request, "columns", 480, 2000)
        bands = number_in(request, "bands", 64, 256)
        identifier = request.path_params["id"]
        if request.url.path.startswith(UPLOADS):
            path = (await self.in_thread(self._recording_of, identifier)).path
        else:
            clip = await self.in_thread(self.service.clip, identifier)
            if clip is None:
                raise Problem(404, "unknown", "no finished generation has this id")
            path = clip.path
        stat = await self._stat(path)
        seconds, picture = await self.in_thread(self._drawn, path, stat.st_mtime_ns, columns, bands)
        return as_json(
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

    async def _stat(self, path: Path) -> stat_result:
        try:
            found: stat_result = await self.in_thread(path.stat)
            return found
        except OSError:
            raise Problem(404, "gone", "the file of this clip is not there any more") from None

    def _recording_of(self, identifier: str) -> Recording:
        found = self.service.recordings.find(identifier)
        if found is None:
            raise Problem(404, "unknown", "no recording has this id")
        return found


def _recording_view(recording: Recording) -> views.RecordingView:
    return views.RecordingView(
        recording.id, recording.seconds, recording.sample_rate, recording.channels, recording.bytes
    )


def _asked_format(request: Request) -> str | None:
    """By ?format, else by Accept; None is as stored."""
    format = choice_in(request, "format", tuple(downloads.MEDIA_TYPES))
    return format or downloads.accepted(request.headers.get("accept", "*/*"))
