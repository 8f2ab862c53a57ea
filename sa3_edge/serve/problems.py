"""Requests that are refused, and the answers that say so."""

from starlette.responses import JSONResponse

from sa3_edge.errors import RequestError, Sa3Error
from sa3_edge.serve.jobs import QueueFullError
from sa3_edge.serve.recordings import FolderFullError


class Problem(Exception):  # noqa: N818  an answer, not a fault
    """A request that is refused, with the status that says so."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers

    def content(self) -> dict[str, dict[str, str]]:
        """{"error": {"code", "message"}}."""
        return {"error": {"code": self.code, "message": self.message}}

    def response(self) -> JSONResponse:
        """As JSON."""
        return JSONResponse(self.content(), self.status, headers=self.headers)


def problem_of(error: Sa3Error) -> Problem:
    """What the library says, as an answer."""
    if isinstance(error, QueueFullError):
        return Problem(429, "busy", str(error), {"Retry-After": "5"})
    if isinstance(error, FolderFullError):
        return Problem(413, "full", str(error))
    if isinstance(error, RequestError):
        return Problem(422, "invalid", str(error))
    return Problem(500, "failed", str(error))
