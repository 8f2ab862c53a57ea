"""Two contracts that clients speak already, as thin layers: ElevenLabs' sound generation and mlx-serve's music.

Both answer when the clip is done, so a client that goes away has no use for it any more: its work is cancelled.
"""

import base64
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
import msgspec
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sa3_edge.errors import RequestError, Sa3Error
from sa3_edge.generation.request import DEFAULT_SECONDS
from sa3_edge.serve import downloads
from sa3_edge.serve.bodies import read_json
from sa3_edge.serve.clip_folder import Clip
from sa3_edge.serve.events import KEEP_ALIVE, KEEP_ALIVE_SECONDS, event, event_stream
from sa3_edge.serve.jobs import Status
from sa3_edge.serve.problems import Problem, problem_of
from sa3_edge.serve.service import GenerationJob, Service

SOUND, MUSIC = "/v1/sound-generation", "/v1/audio/music-generations"
_USUAL_INFLUENCE = 0.3
_MOST_CFG = 4.0
_RATES = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
# Names are codec_rate_bitrate; the encoders here choose the bit rate themselves.
OUTPUT_FORMATS = (
    "mp3_22050_32",
    "mp3_24000_48",
    *(f"mp3_44100_{rate}" for rate in (32, 64, 96, 128, 192)),
    *(f"opus_48000_{rate}" for rate in (32, 64, 96, 128, 192)),
    *(f"pcm_{rate}" for rate in _RATES),
    *(f"wav_{rate}" for rate in _RATES),
)
_USUAL_FORMAT = "mp3_44100_128"
# What mlx-serve calls the stages of a run.
_STAGES = {"text": "encode", "encode": "encode", "condition": "encode", "denoise": "diffuse", "decode": "decode"}


class SoundBody(msgspec.Struct):
    """ElevenLabs' fields. Those that mean nothing here, and later ones, are ignored."""

    text: Annotated[str, msgspec.Meta(min_length=1)]
    duration_seconds: Annotated[float, msgspec.Meta(ge=0.5)] | None = None
    prompt_influence: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    loop: bool | None = None
    model_id: str | None = None


class MusicBody(msgspec.Struct):
    """mlx-serve's fields. Those of its own models, and later ones, are ignored."""

    prompt: Annotated[str, msgspec.Meta(min_length=1)]
    duration_seconds: Annotated[float, msgspec.Meta(ge=0.1)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-1, lt=2**32)] | None = None
    bpm: Annotated[float, msgspec.Meta(ge=20, le=400)] | None = None
    steps: Annotated[int, msgspec.Meta(ge=1)] | None = None
    model: str | None = None
    stream: bool | None = None


def routes(service: Service) -> list[Route]:
    """Both contracts' routes."""
    contracts = Contracts(service)
    return [
        Route(SOUND, contracts.sound, methods=["POST"]),
        Route(MUSIC, contracts.music, methods=["POST"]),
    ]


class Contracts:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def sound(self, request: Request) -> Response:
        """ElevenLabs' POST /v1/sound-generation."""
        try:
            return await self._sound(request)
        except (Problem, Sa3Error) as error:
            # Their clients look for `detail`, all others for `error`.
            problem = error if isinstance(error, Problem) else problem_of(error)
            content = {**problem.content(), "detail": {"status": problem.code, "message": problem.message}}
            return Response(msgspec.json.encode(content), problem.status, problem.headers, "application/json")

    async def _sound(self, request: Request) -> Response:
        name = request.query_params.get("output_format", _USUAL_FORMAT)
        if name not in OUTPUT_FORMATS:
            raise Problem(422, "invalid", f"output_format must be one of {', '.join(OUTPUT_FORMATS)}")
        format, rate = name.split("_")[:2]
        body = await read_json(request, SoundBody)
        order: dict[str, Any] = {"prompt": body.text, "seconds": body.duration_seconds, "loop": body.loop or None}
        if body.model_id in self._service.models():
            order["model"] = body.model_id
        cfg = await to_thread.run_sync(self._cfg, body.prompt_influence, order.get("model"))
        job = await self._order({**order, "cfg": cfg})
        clip = await self._made(request, job)
        data = await to_thread.run_sync(downloads.as_asked, clip.path, format, int(rate))
        media_type = downloads.MEDIA_TYPES.get(format, "application/octet-stream")
        headers = {"x-sample-rate": rate, "x-channels": str(clip.channels), "x-generation-id": clip.id}
        return Response(data, media_type=media_type, headers=headers)

    def _cfg(self, influence: float | None, model: str | None) -> float | None:
        """The usual influence is the model's own guidance; more of it guides more, up to _MOST_CFG."""
        if influence is None or influence <= _USUAL_INFLUENCE:
            return None
        own = self._service.warm.bundle(model or self._service.settings.model).manifest.sampler.cfg
        share = (influence - _USUAL_INFLUENCE) / (1 - _USUAL_INFLUENCE)
        return own + share * max(0.0, _MOST_CFG - own)

    async def music(self, request: Request) -> Response:
        """mlx-serve's POST /v1/audio/music-generations: WAV bytes, or events with base64."""
        try:
            return await self._music(request)
        except RequestError as error:
            raise Problem(400, "invalid", str(error)) from None  # as theirs

    async def _music(self, request: Request) -> Response:
        body = await read_json(request, MusicBody)
        seconds = DEFAULT_SECONDS if body.duration_seconds is None else body.duration_seconds
        order = {
            "prompt": body.prompt,
            "bpm": body.bpm,
            "seconds": seconds,
            "seed": None if body.seed == -1 else body.seed,
            "steps": body.steps,
            "model": body.model if body.model in self._service.models() else None,
            "format": "wav",
            "bits": "16",
        }
        job = await self._order(order)
        if body.stream:
            return event_stream(self._music_events(job))
        clip = await self._made(request, job)
        data = await to_thread.run_sync(clip.path.read_bytes)
        return Response(data, media_type="audio/wav", headers={"x-generation-id": clip.id})

    async def _music_events(self, job: GenerationJob) -> AsyncIterator[bytes]:
        revision = -1
        try:
            async for _ in self._service.queue.changes(KEEP_ALIVE_SECONDS):
                status = job.status
                if status.revision == revision:
                    yield KEEP_ALIVE
                    continue
                revision = status.revision
                if job.ended:
                    break
                progress = status.progress
                if progress.stage is not None:
                    stage = _STAGES.get(progress.stage, progress.stage)
                    yield event(
                        None, {"type": "progress", "stage": stage, "step": progress.done, "total": progress.total}
                    )
            clip = job.status.result
            if clip is None:
                yield event(None, {"type": "error", "message": why_not(job.status)})
                return
            data = await to_thread.run_sync(clip.path.read_bytes)
            seed = clip.record.options.get("seed")
            done = {"type": "complete", "format": "wav", "data": base64.b64encode(data).decode(), "seed": seed}
            yield event(None, done)
        finally:
            self._service.queue.cancel(job)

    async def _order(self, body: dict[str, Any]) -> GenerationJob:
        return await to_thread.run_sync(self._service.order, body)

    async def _made(self, request: Request, job: GenerationJob) -> Clip:
        """The clip when it is done; cancelled if the client goes away. Raises Problem."""
        queue = self._service.queue

        async def watch(scope: anyio.CancelScope) -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            queue.cancel(job)
            scope.cancel()

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(watch, group.cancel_scope)
                await queue.ended(job)
                group.cancel_scope.cancel()
        finally:
            queue.cancel(job)
        clip = job.status.result
        if clip is None:
            failed = job.status.state == "failed"
            raise Problem(500 if failed else 503, job.status.state, why_not(job.status))
        return clip


def why_not(status: Status[Clip]) -> str:
    """Why there is no clip."""
    return status.error or f"the generation is {status.state}"
