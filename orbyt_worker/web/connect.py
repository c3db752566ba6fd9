"""The callback of a login: where the platform sends the browser back. The same door as supabase/functions/connect-callback.

Every outcome is a redirect to the app's link with the session's id and status, which one SQL function says; never a page, and
never a code, a token or a text of the platform. The state is hashed and the code sealed before they reach a statement.
Asking twice is harmless: the second time the state is used, and the answer is the session's status.
"""

from __future__ import annotations

import asyncio
import re

import psycopg
import structlog
from fastapi import APIRouter, Request
from fastapi.responses import Response
from psycopg_pool import PoolTimeout

from orbyt_worker.callback_crypto import seal
from orbyt_worker.web.oauth_answer import (
    CODE_MISSING,
    PLATFORM_ERROR,
    QUERY_BYTES_MAX,
    STATE_CHARACTERS_MAX,
    OAuthAnswer,
    read_answer,
)
from orbyt_worker.web.parts import RETRY_SECONDS, Given, Parts, Refused, refusals

PATH = "/connect/callback"
# A person looks at an empty page meanwhile.
DOOR_SECONDS_MAX = 10.0
ATTEMPTS_MAX = 2

# What may stand in a Location header: an address as the allow-list holds it.
_LOCATION = re.compile(r"[\x21-\x7e]{1,4096}")

log: structlog.stdlib.BoundLogger = structlog.get_logger("orbyt.http")

router = APIRouter(tags=["connect"])


def _parameter(name: str, description: str, characters_max: int) -> dict[str, object]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {"type": "string", "maxLength": characters_max},
    }


@router.get(
    PATH,
    operation_id="connect_callback",
    status_code=303,
    response_class=Response,
    responses={
        303: {
            "description": "Back to the app: `<return_to>?session_id=…&status=…`, whatever happened.",
            "headers": {"Location": {"required": True, "schema": {"type": "string"}}},
        },
        # Only where ORBYT_CONNECT_RETURN_TO is not set: otherwise these end in the app as well.
        **refusals(503),
    },
    openapi_extra={
        # Read by hand: nothing that comes here may end in a page about what is wrong with it.
        "parameters": [
            _parameter("state", "The session's state, as it was given to the platform.", STATE_CHARACTERS_MAX),
            _parameter("code", "The authorization code.", QUERY_BYTES_MAX),
            _parameter("error", "Google, Facebook, Instagram: why there is no code, in a word.", QUERY_BYTES_MAX),
            _parameter("error_reason", "Facebook, Instagram: `user_denied`.", QUERY_BYTES_MAX),
            _parameter("error_code", "Facebook: a login that is set up wrongly.", QUERY_BYTES_MAX),
            _parameter("error_message", "Facebook: its text. Not read.", QUERY_BYTES_MAX),
        ]
    },
)
async def connect_callback(request: Request, parts: Given) -> Response:
    """The platform sends the browser back here after a login; it is sent on to the app."""
    answer = read_answer(request.scope["query_string"])
    location = await _settle(parts, answer)
    if location is not None and _LOCATION.fullmatch(location):
        return _sent_to(location)
    away = sent_on(parts)
    if away is None:
        raise Refused(503, "database_unavailable", retry_after_seconds=RETRY_SECONDS)
    return away


def sent_on(parts: Parts) -> Response | None:
    """To the app's first link, as the database would give it for a state it does not know; None if no link is set."""
    links = parts.settings.connect_return_links
    return _sent_to(f"{links[0]}?status=failed") if links else None


def _sent_to(location: str) -> Response:
    return Response(status_code=303, headers={"location": location})


async def _settle(parts: Parts, answer: OAuthAnswer) -> str | None:
    """Where to go, from the database; None if it cannot be asked. Asked again once: an answer may be lost on its way."""
    try:
        async with asyncio.timeout(DOOR_SECONDS_MAX):
            for attempt in range(1, ATTEMPTS_MAX + 1):
                try:
                    return await _ask(parts, answer)
                except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
                    log.warning("connect.database_lost", error=type(error).__name__, attempt=attempt)
    except TimeoutError:
        log.warning("connect.database_slow", seconds=DOOR_SECONDS_MAX)
    except psycopg.Error as error:
        # Migrations missing, a right missing: somebody has to act, and the person in front of the browser is not the one.
        log.error("connect.database_refused", sqlstate=error.sqlstate)
    except Exception:
        # Our own mistake. The browser is sent on all the same.
        log.exception("connect.failed")
    return None


async def _ask(parts: Parts, answer: OAuthAnswer) -> str | None:
    sealed_code, key_id, error = None, None, answer.error
    if answer.code is not None:
        key = await parts.queries.callback_key()
        if key is None:
            # No worker has ever started: nobody could open the code.
            log.error("connect.callback_key_missing")
            error = PLATFORM_ERROR
        else:
            try:
                sealed_code = seal(answer.code, jwk=key.jwk, state_hash=answer.state_hash)
                key_id = key.key_id
            except (ValueError, TypeError, LookupError, AttributeError) as failure:
                # A row that somebody has changed: no key, or none of ours.
                log.error("connect.callback_key_broken", key_id=key.key_id, error=type(failure).__name__)
                error = PLATFORM_ERROR
    came_back = await parts.queries.connect_callback(
        answer.state_hash,
        sealed_code=sealed_code,
        key_id=key_id,
        error=error or (None if sealed_code else CODE_MISSING),
    )
    log.info("connect.came_back", status=came_back.status, code=came_back.code)
    return came_back.redirect
