"""Meta's callbacks: a person removed our app, or asks for their data to be deleted.

Both come as the form field `signed_request` (signed_request.py), by Facebook Login with the Meta app's secret, by Instagram
Login with the Instagram app's. The person's accounts are disconnected and their tokens destroyed; for a deletion Meta shows
the person a code and the address of a page that says how it stands. Sources: Meta "Data Deletion Request Callback", "Facebook
Login: Deauthorize callback", read 2026-11.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import parse_qs

import structlog
from fastapi import APIRouter, Path, Request
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel, Field

from orbyt_worker.settings import Settings
from orbyt_worker.web.parts import Given, Parts, Refused, refusals
from orbyt_worker.web.signed_request import AppSecret, SignedRequest, verify

FORM = "application/x-www-form-urlencoded"
FIELDS_MAX = 16

_CODE = re.compile(r"[A-Za-z0-9_-]{1,64}")

log: structlog.stdlib.BoundLogger = structlog.get_logger("orbyt.http")

router = APIRouter(tags=["meta"])

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["signed_request"],
                    "properties": {
                        "signed_request": {
                            "type": "string",
                            "description": "`base64url(HMAC-SHA256 of the payload).base64url(payload)`",
                        }
                    },
                }
            }
        },
    }
}


class Done(BaseModel):
    success: bool = True


class DeletionRequest(BaseModel):
    url: str = Field(description="A page for the person: how their request stands.")
    confirmation_code: str = Field(description="What the person can ask with.")


@router.post(
    "/meta/deauthorize",
    operation_id="meta_deauthorize",
    responses=refusals(400, 404, 415, 503),
    openapi_extra=_BODY,
)
async def deauthorize(request: Request, parts: Given) -> Done:
    """Meta says that a person removed the app: their accounts are disconnected, their tokens destroyed. Safe to repeat.

    Who has connected again since `issued_at` stays connected.
    """
    person = await _proven(request, parts)
    found = await parts.queries.disconnect_by_platform_user(
        person.login, person.platform_user_id, issued_at=person.issued_at
    )
    log.info("meta.deauthorized", login=person.login, accounts=found.accounts)
    return Done()


@router.post(
    "/meta/data-deletion",
    operation_id="meta_data_deletion",
    responses=refusals(400, 404, 415, 503),
    openapi_extra=_BODY,
)
async def data_deletion(request: Request, parts: Given) -> DeletionRequest:
    """Meta passes on that a person wants their data deleted. Every request gets a code, known person or not."""
    person = await _proven(request, parts)
    found = await parts.queries.disconnect_by_platform_user(
        person.login, person.platform_user_id, issued_at=person.issued_at, delete=True
    )
    log.info("meta.data_deletion", login=person.login, accounts=found.accounts)
    code = str(found.confirmation_code)
    return DeletionRequest(url=f"{_base(request, parts)}/meta/data-deletion/{code}", confirmation_code=code)


@router.get(
    "/meta/data-deletion/{code}",
    operation_id="meta_data_deletion_status",
    # The refusals are JSON: a class of text would say otherwise in the document.
    response_class=Response,
    responses={
        200: {
            "description": "One sentence.",
            "content": {"text/plain; charset=utf-8": {"schema": {"type": "string"}}},
        },
        **refusals(404, 503),
    },
)
async def data_deletion_status(
    code: Annotated[str, Path(description="The confirmation code.")], parts: Given
) -> PlainTextResponse:
    """How a deletion request stands, for the person who made it. Plain text; says nothing about whose it is."""
    status = await parts.queries.deletion_status(code) if _CODE.fullmatch(code) else None
    if status is None:
        raise Refused(404, "not_found")
    if status.finished_at is None:
        return PlainTextResponse(
            f"Your request of {status.requested_at:%Y-%m-%d} is being worked on: your accounts are disconnected, and what we "
            "hold about them is being deleted.\n"
        )
    return PlainTextResponse(
        f"Done: what we held about your accounts was deleted on {status.finished_at:%Y-%m-%d}. "
        f"You asked for it on {status.requested_at:%Y-%m-%d}.\n"
    )


def app_secrets(settings: Settings) -> list[AppSecret]:
    """The secrets Meta may sign with."""
    known = (("facebook", settings.meta_app_secret), ("instagram", settings.instagram_app_secret))
    return [AppSecret(login, secret.get_secret_value()) for login, secret in known if secret is not None]


async def _proven(request: Request, parts: Parts) -> SignedRequest:
    secrets = app_secrets(parts.settings)
    if not secrets:
        raise Refused(404, "not_configured")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Refused(415, "form_expected")
    try:
        fields = parse_qs((await request.body()).decode("ascii"), max_num_fields=FIELDS_MAX)
    except ValueError:
        raise Refused(400, "form_unreadable") from None
    values = fields.get("signed_request", [])
    person = verify(values[0], secrets, now=parts.runtime.now().timestamp()) if len(values) == 1 else None
    if person is None:
        log.warning("meta.signature_refused")
        raise Refused(400, "signed_request_invalid")
    return person


def _base(request: Request, parts: Parts) -> str:
    """Under which address the person finds us: as set, else as Meta did."""
    return (parts.settings.http_public_url or str(request.base_url)).rstrip("/")
