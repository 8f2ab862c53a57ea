"""A Model Context Protocol tool over stdio: the same service, for agents (extra: mcp)."""

from functools import partial
from typing import Any

import anyio
import mcp.types as types
import msgspec
from anyio import to_thread
from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server

import sa3_edge
from sa3_edge.errors import Sa3Error
from sa3_edge.serve import views
from sa3_edge.serve.clip_folder import Clip
from sa3_edge.serve.openapi import request_schema
from sa3_edge.serve.service import GenerationJob, Service

_PROGRESS_SECONDS = 5.0
_GENERATE = (
    "Make a clip of music or sound from words, or from an earlier clip (`init_audio` is its id): another version "
    "(`noise_level`), with regions made anew (`inpaint`), extended or prepended. Writes a sound file on this machine "
    "and answers its path, its id and how it was made."
)
_NOTHING: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


def tools() -> list[types.Tool]:
    """What an agent can call."""
    return [
        types.Tool(name="generate_audio", description=_GENERATE, input_schema=request_schema()),
        types.Tool(name="list_clips", description="The newest clips, with their ids and paths.", input_schema=_NOTHING),
        types.Tool(name="list_models", description="Names that `model` may be.", input_schema=_NOTHING),
    ]


class Tools:
    """Answers calls. Whatever is wrong with one is said to the agent, which can mend it."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def list(self, context: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        """The tools."""
        return types.ListToolsResult(tools=tools())

    async def call(
        self, context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        """Run one."""
        try:
            answer = await self._answer(context, params.name, params.arguments or {})
        except Sa3Error as error:
            content: list[Any] = [types.TextContent(type="text", text=str(error))]
            return types.CallToolResult(content=content, is_error=True)
        text = msgspec.json.encode(answer).decode()
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)], structured_content=answer)

    async def _answer(self, context: ServerRequestContext[Any], name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        service = self._service
        match name:
            case "generate_audio":
                job = await to_thread.run_sync(service.order, arguments)
                return self._clip(await self._made(context, job))
            case "list_clips":
                clips = await to_thread.run_sync(service.folder.clips)
                return {"clips": [self._clip(clip) for clip in clips[:50]]}
            case "list_models":
                return {"models": service.models(), "default": service.settings.model}
        raise Sa3Error(f"there is no tool {name!r}; choose {', '.join(tool.name for tool in tools())}")

    async def _made(self, context: ServerRequestContext[Any], job: GenerationJob) -> Clip:
        """The clip when it is done; a call that is cancelled cancels it."""
        queue = self._service.queue
        token = (context.meta or {}).get("progress_token")
        try:
            async for _ in queue.changes(_PROGRESS_SECONDS):
                if job.ended:
                    break
                progress = job.status.progress
                if token is not None:
                    await context.session.send_progress_notification(token, progress.fraction, 1.0, progress.stage)
        finally:
            queue.cancel(job)
        if job.status.result is None:
            raise Sa3Error(job.status.error or f"the generation is {job.status.state}")
        return job.status.result

    def _clip(self, clip: Clip) -> dict[str, Any]:
        shown = views.clip_view(clip, self._service.source_of(clip))
        return {
            "id": clip.id,
            "path": str(clip.path),
            "prompt": clip.record.prompt,
            **msgspec.to_builtins(shown),
        }


def serve_stdio(service: Service) -> None:
    """Serve until the agent closes standard input."""
    anyio.run(partial(_serve, service))


async def _serve(service: Service) -> None:
    answers = Tools(service)
    server: Server[Any] = Server(
        "sa3-edge", version=sa3_edge.__version__, on_list_tools=answers.list, on_call_tool=answers.call
    )
    await to_thread.run_sync(service.start)
    try:
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())
    finally:
        await to_thread.run_sync(service.stop)
