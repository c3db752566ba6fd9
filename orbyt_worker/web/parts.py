"""What the routes work with, and how they refuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from orbyt_worker.db.door_queries import DoorQueries
from orbyt_worker.health import Health
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings

RETRY_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Parts:
    """Given by the composition root. The database may not have come up yet."""

    health: Health
    settings: Settings
    queries: DoorQueries
    runtime: Runtime


def parts_of(request: Request) -> Parts:
    return cast(Parts, request.app.state.parts)


Given = Annotated[Parts, Depends(parts_of)]


class Problem(BaseModel):
    """Every refusal has this body."""

    error: str = Field(description="Why, in a word that does not change.", examples=["not_found"])
    request_id: str = Field(description="Also in the header X-Request-Id and in the worker's log.")


class Refused(Exception):
    """Answer with this status and word."""

    def __init__(self, status: int, error: str, *, retry_after_seconds: int | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.retry_after_seconds = retry_after_seconds


def problem(request_id: str, refused: Refused) -> JSONResponse:
    headers = {} if refused.retry_after_seconds is None else {"retry-after": str(refused.retry_after_seconds)}
    return JSONResponse({"error": refused.error, "request_id": request_id}, refused.status, headers)


# For the OpenAPI document: what each status means, wherever it occurs.
_MEANINGS = {
    400: "Not a request this route understands, or one that is not proven.",
    404: "There is no such thing, or this worker is not set up for it.",
    405: "The route has other methods.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is of another type.",
    429: "Too many requests from this address; Retry-After says when to come again.",
    503: "The database is away; Retry-After says when to come again.",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route: these refusals, and those that any route may give."""
    return {
        status: {"model": Problem, "description": _MEANINGS[status]} for status in sorted({*statuses, 408, 413, 429})
    }
