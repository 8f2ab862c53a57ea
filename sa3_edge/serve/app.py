"""The HTTP API as an application: which handler answers what, and how errors are answered."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import sa3_edge
from sa3_edge.adapters.names import installed_adapters
from sa3_edge.errors import BundleError, RequestError, Sa3Error
from sa3_edge.serve import contracts, views
from sa3_edge.serve.bodies import SessionBody, read_json
from sa3_edge.serve.generations import Generations
from sa3_edge.serve.handlers import Handlers, as_json
from sa3_edge.serve.memory import resident_bytes
from sa3_edge.serve.openapi import document
from sa3_edge.serve.pages import PAGES, page_routes
from sa3_edge.serve.problems import Problem, problem_of
from sa3_edge.serve.security import COOKIE, SESSION, UPLOADS, Guard, Limiter, session_of, token_matches
from sa3_edge.serve.service import Service
from sa3_edge.serve.settings import Settings
from sa3_edge.serve.sounds import Sounds

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

    threads = CapacityLimiter(_THREADS)
    about = About(service, threads)
    generations = Generations(service, threads)
    sounds = Sounds(service, threads)
    routes = [
        *page_routes(),
        Route("/health", about.health),
        Route("/openapi.json", about.openapi),
        Route(SESSION, about.session, methods=["POST"]),
        Route("/v1/models", about.models),
        Route("/v1/events", generations.all_events),
        Route("/v1/generations", generations.listed),
        Route("/v1/generations", generations.order, methods=["POST"]),
        Route("/v1/generations/{id}", generations.one),
        Route("/v1/generations/{id}", generations.delete, methods=["DELETE"]),
        Route("/v1/generations/{id}/events", generations.events),
        Route("/v1/generations/{id}/audio", sounds.audio),
        Route("/v1/generations/{id}/picture", sounds.picture),
        Route(UPLOADS, sounds.upload, methods=["POST"]),
        Route(UPLOADS + "/{id}", sounds.recording),
        Route(UPLOADS + "/{id}/audio", sounds.recording_audio),
        Route(UPLOADS + "/{id}/picture", sounds.picture),
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


class About(Handlers):
    """The handlers that say what this server is and has."""

    def __init__(self, service: Service, threads: CapacityLimiter) -> None:
        super().__init__(service, threads)
        self._started = time.monotonic()

    async def health(self, request: Request) -> Response:
        service = self.service
        running = service.queue.running()
        return as_json(
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
        return JSONResponse(document(self.service.settings))

    async def session(self, request: Request) -> Response:
        """Exchange the token for a cookie, so that a page's players and event streams can show it."""
        token = self.service.settings.token
        body = await read_json(request, SessionBody)
        if token is None:
            return Response(status_code=204)
        if not token_matches(body.token, token):
            raise Problem(401, "token_needed", "this is not the server's token", {"WWW-Authenticate": "Bearer"})
        response = Response(status_code=204)
        response.set_cookie(COOKIE, session_of(token), httponly=True, samesite="strict", path="/")
        return response

    async def models(self, request: Request) -> Response:
        return as_json(await self.in_thread(self._models))

    def _models(self) -> views.ModelList:
        service = self.service
        listed = []
        for name in service.models():
            default, loaded = name == service.settings.model, name == service.warm.loaded
            try:
                manifest = service.warm.bundle(name).manifest
            except (BundleError, RequestError) as error:
                listed.append(views.broken_model(name, default, loaded, str(error)))
            else:
                listed.append(views.model_view(name, default, loaded, manifest))
        return views.ModelList(listed, list(installed_adapters()))


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
