"""Is it alive, is it ready, how is it doing. For whoever runs the worker; never for the public."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from orbyt_worker.web.parts import Given, refusals

router = APIRouter(tags=["probes"])


class Liveness(BaseModel):
    live: bool = Field(description="True as long as anything can be answered at all.")


class Ready(BaseModel):
    ready: bool = Field(description="Whether a job could have been claimed within the last minute.")
    reason: str = Field(description="Why not; empty when ready.")
    claim_age_seconds: float | None = Field(description="Age of the last successful claim; null before the first.")


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", operation_id="healthz", responses=refusals())
async def healthz(parts: Given) -> Liveness:
    """Liveness. A worker that lost its database is alive: restarting it would not help."""
    return Liveness(live=parts.health.live())


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    operation_id="readyz",
    response_model=Ready,
    responses={503: {"model": Ready, "description": "Not ready; `reason` says why."}, **refusals()},
)
async def readyz(parts: Given) -> JSONResponse:
    """Readiness: a claim succeeded within the last minute."""
    state = parts.health.ready()
    age = None if state.claim_age_seconds is None else round(state.claim_age_seconds, 1)
    body = Ready(ready=state.ready, reason=state.reason, claim_age_seconds=age)
    return JSONResponse(body.model_dump(), 200 if state.ready else 503)


@router.head("/metrics", include_in_schema=False)
@router.get(
    "/metrics",
    operation_id="metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus text; the metrics are listed in docs/operating.md.",
            "content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}},
        },
        **refusals(),
    },
)
async def metrics(parts: Given) -> Response:
    """Metrics for Prometheus."""
    return Response(parts.health.metrics(), media_type=CONTENT_TYPE_LATEST)
