"""The way to call Meta: Facebook Pages and Instagram, with both logins.

What is decided here once: which host and version, how values are encoded, where the token goes, how calls are signed, that
every answer is looked through for errors (also a 200) and for limits. Nothing is repeated here; whether to try again is
decided in `publishing/retry.py`, what an error means in `graph_errors.py`, what a header means in `graph_usage.py`.

The token travels in a header, never in an address (Meta, "Secure Graph API Calls", read 2026-09). Bodies are form-encoded
with nested values as JSON text in one field: with JSON bodies optional parameters were seen to vanish silently on
Instagram's host (exileum/meta-mcp, changelog).
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.platforms.base import ApiResponse, StepContext
from orbyt_worker.platforms.graph_errors import (
    ASK_WITH_OTHER_TOKEN,
    CallPhase,
    GraphFailure,
    failure_of,
    failure_of_phase,
    failure_of_status,
    is_error,
    offsets_of,
    wants_new_container,
    wants_new_upload,
)
from orbyt_worker.platforms.graph_usage import usages
from orbyt_worker.settings import Settings

__all__ = [
    "READ_SECONDS",
    "VERSION_ENDS",
    "WRITE_SECONDS",
    "CallPhase",
    "FilePart",
    "GraphFailure",
    "Host",
    "failure_of",
    "failure_of_phase",
    "failure_of_status",
    "graph_url",
    "is_error",
    "next_cursor",
    "offsets_of",
    "pages",
    "proof",
    "read",
    "read_either",
    "rupload",
    "rupload_from",
    "send_file",
    "upload_address",
    "usages",
    "wants_new_container",
    "wants_new_upload",
    "write",
]

READ_SECONDS = 20.0
WRITE_SECONDS = 60.0
# Version -> the day it ends, None while that is not announced (about two years after its successor ships). Meta, Graph API
# Changelog: https://developers.facebook.com/docs/graph-api/changelog/versions, read 2026-09.
VERSION_ENDS = MappingProxyType(
    {
        "v20.0": date(2026, 9, 24),
        "v21.0": date(2027, 1, 21),
        "v22.0": date(2027, 5, 20),
        "v23.0": date(2027, 10, 8),
        "v24.0": date(2028, 2, 18),
        "v25.0": date(2028, 7, 29),
        "v26.0": None,
    }
)

ADDRESS_CHARACTERS_MAX = 4_096
NAME_CHARACTERS_MAX = 100

FACEBOOK_LOGIN = "facebook"
INSTAGRAM_LOGIN = "instagram"
ACCESS_TOKEN = "access_token"  # noqa: S105 - the kind of a token
USER_TOKEN = "user_token"  # noqa: S105 - the kind of a token

# The right a call most likely lacks when it is refused for a missing one, by platform, login, and whether it writes.
# Meta, Permissions Reference (https://developers.facebook.com/docs/permissions, read 2026-09).
_RIGHTS = {
    ("facebook", FACEBOOK_LOGIN, True): "pages_manage_posts",
    ("facebook", FACEBOOK_LOGIN, False): "pages_read_engagement",
    ("instagram", FACEBOOK_LOGIN, True): "instagram_content_publish",
    ("instagram", FACEBOOK_LOGIN, False): "instagram_basic",
    ("instagram", INSTAGRAM_LOGIN, True): "instagram_business_content_publish",
    ("instagram", INSTAGRAM_LOGIN, False): "instagram_business_basic",
}


class Host(StrEnum):
    """GRAPH is that of the account's login: a token of one login is refused by the host of the other."""

    GRAPH = "graph"
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class FilePart:
    """One file of a multipart body. `content` gives exactly `size_bytes` bytes."""

    field: str
    file_name: str
    content_type: str
    size_bytes: int
    content: bytes | AsyncIterator[bytes] = dataclasses.field(repr=False)


async def read(
    ctx: StepContext,
    name: str,
    path: str,
    params: Mapping[str, Any] | None = None,
    *,
    token: str = ACCESS_TOKEN,
    timeout_seconds: float = READ_SECONDS,
) -> dict[str, Any]:
    """GET. `path` comes without the version ("{page}/published_posts"); values that are None are left out.

    Raises Failure: the catalog's code for an error answer (at any status), platform_answer_invalid for an answer that is no
    object, and what `base.Http.call` raises.
    """
    secret = await _token(ctx, token)
    response = await ctx.http.call(
        name,
        "GET",
        _url(ctx, Host.GRAPH, path),
        timeout_seconds=timeout_seconds,
        params=_fields(params or {}) | _proof(ctx, secret),
        headers={"authorization": f"Bearer {secret}"},
    )
    return await _answer(ctx, name, response, CallPhase.READ)


async def read_either(
    ctx: StepContext,
    name: str,
    path: str,
    params: Mapping[str, Any] | None = None,
    *,
    tokens: Sequence[str] = (USER_TOKEN, ACCESS_TOKEN),
    timeout_seconds: float = READ_SECONDS,
) -> dict[str, Any]:
    """GET with the first token, and where that one is told "does not exist" or "no permission", with the next.

    Containers and media are at times unreadable with a good page token. If none can read it, the first refusal is raised, also
    when the second token is over: the person's lives for 60 days, the page's has no end, and the account is not lost by it.
    """
    refused: Failure | None = None
    for token in tokens:
        try:
            return await read(ctx, name, path, params, token=token, timeout_seconds=timeout_seconds)
        except Failure as failure:
            if failure.code not in ASK_WITH_OTHER_TOKEN:
                if refused is not None and catalog.entry(failure.code).needs_reauth:
                    break
                raise
            refused = refused or failure
    assert refused is not None, "at least one kind of token is asked with"
    raise refused


async def write(
    ctx: StepContext,
    name: str,
    path: str,
    fields: Mapping[str, Any],
    *,
    token: str = ACCESS_TOKEN,
    host: Host = Host.GRAPH,
    timeout_seconds: float = WRITE_SECONDS,
    phase: CallPhase = CallPhase.WRITE,
) -> dict[str, Any]:
    """POST of form fields; see `read`. A field that is None is left out; 0, False and "" are sent."""
    secret = await _token(ctx, token)
    response = await ctx.http.call(
        name,
        "POST",
        _url(ctx, host, path),
        timeout_seconds=timeout_seconds,
        form=_fields(fields) | _proof(ctx, secret),
        headers={"authorization": f"Bearer {secret}"},
    )
    return await _answer(ctx, name, response, phase)


async def send_file(
    ctx: StepContext,
    name: str,
    path: str,
    fields: Mapping[str, Any],
    part: FilePart,
    *,
    token: str = ACCESS_TOKEN,
    host: Host = Host.GRAPH,
    timeout_seconds: float,
    phase: CallPhase = CallPhase.UPLOAD,
) -> dict[str, Any]:
    """POST of form fields and one file, streamed; see `write`."""
    secret = await _token(ctx, token)
    boundary = f"orbyt-{ctx.runtime.random.getrandbits(128):032x}"
    head, tail = _multipart(boundary, _fields(fields) | _proof(ctx, secret), part)
    response = await ctx.http.call(
        name,
        "POST",
        _url(ctx, host, path),
        timeout_seconds=timeout_seconds,
        headers={"authorization": f"Bearer {secret}", "content-type": f"multipart/form-data; boundary={boundary}"},
        content=_joined(head, part.content, tail),
        content_length=len(head) + part.size_bytes + len(tail),
    )
    return await _answer(ctx, name, response, phase)


async def rupload(
    ctx: StepContext,
    name: str,
    upload_url: str,
    *,
    offset: int,
    size_bytes: int,
    content: bytes | AsyncIterator[bytes],
    length: int,
    timeout_seconds: float,
    token: str = ACCESS_TOKEN,
) -> dict[str, Any]:
    """Send `length` bytes from `offset` of a file of `size_bytes` to an address from `upload_address`.

    Parameters travel as headers, and the token only as `OAuth` (Meta, "Reels Publishing API", read 2026-09). Raises
    platform_answer_invalid unless the answer says success: finishing an upload of which nothing arrived gives code 6000.
    """
    headers = {
        "offset": str(offset),
        "file_size": str(size_bytes),
        "content-type": "application/octet-stream",
    }
    return await _upload(ctx, name, upload_url, headers, content, length, timeout_seconds, token)


async def rupload_from(
    ctx: StepContext,
    name: str,
    upload_url: str,
    file_url: str,
    *,
    timeout_seconds: float,
    token: str = ACCESS_TOKEN,
) -> dict[str, Any]:
    """Let Meta fetch the file from `file_url`: public, http(s), ASCII, no login; its robots.txt must allow facebookexternalhit."""
    if not (file_url.isascii() and file_url.isprintable() and " " not in file_url):
        raise Failure(ErrorCode.MEDIA_URL_INVALID, f"{name}: the address has characters that are not ASCII")
    return await _upload(ctx, name, upload_url, {"file_url": file_url}, b"", 0, timeout_seconds, token)


def upload_address(ctx: StepContext, value: object) -> str:
    """`value` (an `upload_url` or `uri` of an answer) if it is an address of Meta's upload host. A token is going to be sent there."""
    wanted = urlsplit(ctx.config.meta_upload_url)
    if isinstance(value, str) and len(value) <= ADDRESS_CHARACTERS_MAX and value.isascii() and value.isprintable():
        try:
            parts = urlsplit(value)
            same = (parts.scheme, parts.hostname, parts.port) == (wanted.scheme, wanted.hostname, wanted.port)
        except ValueError:
            same = False
        if same and parts.username is None and parts.password is None and not re.search(r"[\s\\]", value):
            return value
    raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, "the upload address is not one of Meta's upload host")


async def pages(
    ctx: StepContext,
    name: str,
    path: str,
    params: Mapping[str, Any] | None = None,
    *,
    token: str = ACCESS_TOKEN,
    pages_max: int,
    rows_max: int,
) -> list[dict[str, Any]]:
    """The rows of a list, page after page, at most `rows_max`. Raises as `read` does, on whichever page.

    Only the cursor is taken from an answer: `paging.next` holds the token, and could lead anywhere.
    """
    rows: list[dict[str, Any]] = []
    cursors: set[str] = set()
    asked = dict(params or {})
    for _ in range(pages_max):
        answer = await read(ctx, name, path, asked, token=token)
        data = answer.get("data")
        if not isinstance(data, list):
            raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, f"{name}: a list without data", http_status=200)
        rows += [each for each in data if isinstance(each, dict)]
        paging = answer.get("paging")
        after = next_cursor(paging)
        if len(rows) >= rows_max or after is None or after in cursors:
            break
        cursors.add(after)
        asked["after"] = after
    return rows[:rows_max]


# Requests --------------------------------------------------------------------------------------------------------------


async def _token(ctx: StepContext, kind: str) -> str:
    return await (ctx.access_token() if kind == ACCESS_TOKEN else ctx.access_token(kind=kind))


def _url(ctx: StepContext, host: Host, path: str) -> str:
    return graph_url(ctx.config, ctx.account.login, path, host)


def graph_url(config: Settings, login: str, path: str, host: Host = Host.GRAPH) -> str:
    """Where a call of this login goes. `path` is checked: see below."""
    if host is Host.VIDEO:
        base = config.meta_video_url
    else:
        base = config.instagram_graph_url if login == INSTAGRAM_LOGIN else config.meta_graph_url
    # Ids in it come from answers: none of them may become another path, a query or another host.
    if not re.fullmatch(r"[A-Za-z0-9_:.-]+(/[A-Za-z0-9_:.-]+)*", path) or ".." in path:
        raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, "an id has characters that no id of Meta has")
    return f"{base.rstrip('/')}/{config.meta_api_version}/{path}"


def _fields(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: _text(value) for key, value in values.items() if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _proof(ctx: StepContext, token: str) -> dict[str, str]:
    return proof(ctx.config, ctx.account.login, token, ctx.now())


def proof(config: Settings, login: str, token: str, now: datetime) -> dict[str, str]:
    """`appsecret_proof`: that the token is used by the app it was given to.

    Meta, Login Security (https://developers.facebook.com/docs/facebook-login/security, read 2026-09): HMAC-SHA256 of the
    token, or of token|unix time, then with `appsecret_time` and valid for 5 minutes. Whether graph.instagram.com
    checks one, and with which secret, is not documented, so none is sent there.
    """
    secret, mode = config.meta_app_secret, config.meta_appsecret_proof
    if secret is None or mode == "off" or login != FACEBOOK_LOGIN:
        return {}
    key = secret.get_secret_value().encode()
    if mode == "plain":
        return {"appsecret_proof": hmac.new(key, token.encode(), hashlib.sha256).hexdigest()}
    seconds = str(int(now.timestamp()))
    signed = hmac.new(key, f"{token}|{seconds}".encode(), hashlib.sha256).hexdigest()
    return {"appsecret_proof": signed, "appsecret_time": seconds}


def _multipart(boundary: str, fields: Mapping[str, str], part: FilePart) -> tuple[bytes, bytes]:
    """What comes before and after the bytes of the file (RFC 7578)."""
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    )
    head += (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{part.field}"; filename="{_quoted(part.file_name)}"\r\n'
        f"Content-Type: {part.content_type}\r\n\r\n"
    )
    return head.encode(), f"\r\n--{boundary}--\r\n".encode()


def _quoted(text: str) -> str:
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


async def _joined(head: bytes, content: bytes | AsyncIterator[bytes], tail: bytes) -> AsyncIterator[bytes]:
    yield head
    if isinstance(content, bytes):
        yield content
    else:
        async for piece in content:
            yield piece
    yield tail


async def _upload(
    ctx: StepContext,
    name: str,
    upload_url: str,
    headers: Mapping[str, str],
    content: bytes | AsyncIterator[bytes],
    length: int,
    timeout_seconds: float,
    token: str,
) -> dict[str, Any]:
    secret = await _token(ctx, token)
    response = await ctx.http.call(
        name,
        "POST",
        # Checked again: it may come from a journal, and the token goes with it.
        upload_address(ctx, upload_url),
        timeout_seconds=timeout_seconds,
        headers={"authorization": f"OAuth {secret}", **headers},
        content=content,
        content_length=length,
    )
    answer = await _answer(ctx, name, response, CallPhase.UPLOAD)
    if answer.get("success") is not True:
        raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, f"{name}: no word of success", http_status=response.status)
    return answer


# Answers ---------------------------------------------------------------------------------------------------------------


async def _answer(ctx: StepContext, name: str, response: ApiResponse, phase: CallPhase) -> dict[str, Any]:
    account = ctx.account
    found = usages(response.headers, account.platform_account_id)
    if found:
        await ctx.usage(found)
    if is_error(response):
        raise failure_of(
            account.platform,
            name,
            response,
            ctx.now(),
            phase=phase,
            account_id=account.platform_account_id,
            lacking=_right(ctx, phase),
        )
    if response.json is True:
        return {"success": True}
    if not isinstance(response.json, dict):
        raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, f"{name}: not an object", http_status=response.status)
    return response.json


def _right(ctx: StepContext, phase: CallPhase) -> str:
    """Which right of which page or account a call lacks if it is refused for one: the login itself may be fine."""
    account = ctx.account
    right = _RIGHTS.get((account.platform, account.login, phase is not CallPhase.READ), "a permission")
    return f"{right} for {account.name[:NAME_CHARACTERS_MAX]}"


def next_cursor(paging: object) -> str | None:
    """The cursor of the next page. Without `next` there is none, although the cursor of the last row is still given."""
    if not isinstance(paging, dict) or not isinstance(paging.get("next"), str):
        return None
    cursors = paging.get("cursors")
    after = cursors.get("after") if isinstance(cursors, dict) else None
    return after if isinstance(after, str) and after else None
