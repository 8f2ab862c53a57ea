"""Generations: ordered, listed, watched, cancelled and deleted."""

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sa3_edge.serve import views
from sa3_edge.serve.bodies import read_json
from sa3_edge.serve.clip_folder import Clip
from sa3_edge.serve.events import KEEP_ALIVE, KEEP_ALIVE_SECONDS, event, event_stream
from sa3_edge.serve.handlers import Handlers, as_json, choice_in, number_in, text_in
from sa3_edge.serve.jobs import Job
from sa3_edge.serve.problems import Problem
from sa3_edge.serve.service import GenerationJob

_PAGE_SIZE, _LARGEST_PAGE = 50, 200


class Generations(Handlers):
    """The handlers of /v1/generations and /v1/events, but for what is heard and seen."""

    async def order(self, request: Request) -> Response:
        body = await read_json(request, dict[str, Any])
        job = await self.in_thread(self.service.order, body)
        location = {"Location": f"/v1/generations/{job.id}"}
        return as_json(views.view(job, self.service), 202, location)

    async def listed(self, request: Request) -> Response:
        limit = number_in(request, "limit", _PAGE_SIZE, _LARGEST_PAGE)
        before = text_in(request, "before")
        return as_json(await self.in_thread(self._list, limit, before))

    def _list(self, limit: int, before: str | None) -> views.GenerationList:
        service = self.service
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

    async def one(self, request: Request) -> Response:
        found = await self.in_thread(self.find, request.path_params["id"])
        return as_json(await self.in_thread(views.view, found, self.service))

    async def delete(self, request: Request) -> Response:
        """Cancel what waits or runs; delete a finished clip's file if that is said."""
        service = self.service
        found = await self.in_thread(self.find, request.path_params["id"])
        if isinstance(found, Job) and service.queue.cancel(found):
            return as_json(views.view(found, service), 202)
        delete = choice_in(request, "delete", ("true", "false")) == "true"
        clip = found.status.result if isinstance(found, Job) else found
        if clip is not None and not delete:
            raise Problem(409, "ended", "this generation has ended; ?delete=true deletes its file")
        if clip is not None:
            await self.in_thread(service.folder.remove, clip)
        service.queue.forget(found.id)
        return Response(status_code=204)

    async def events(self, request: Request) -> Response:
        found = await self.in_thread(self.find, request.path_params["id"])
        return event_stream(self._events(found))

    async def _events(self, found: GenerationJob | Clip) -> AsyncIterator[bytes]:
        queue, revision = self.service.queue, -1
        if isinstance(found, Clip):
            yield event("done", await self.in_thread(views.view, found, self.service))
            return
        async for _ in queue.changes(KEEP_ALIVE_SECONDS):
            status = found.status
            if status.revision == revision:
                yield KEEP_ALIVE
                continue
            revision = status.revision
            name = status.state if found.ended else "progress"
            yield event(name, await self.in_thread(views.view, found, self.service))
            if found.ended:
                return

    async def all_events(self, request: Request) -> Response:
        return event_stream(self._all_events())

    async def _all_events(self) -> AsyncIterator[bytes]:
        """Every change of any generation: one connection for a page that shows many."""
        queue = self.service.queue
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
                yield event("generation", await self.in_thread(views.view, job, self.service))
