"""Meta's error envelope, in three languages, and rupload's own shape.

After Meta "Handle Errors" and "Reels Publishing API". `message`, `error_user_title` and `error_user_msg` are for people and
depend on the locale; numbers do not. `configure(locale=...)` switches, so that a client that reads texts is found out.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse, Response

from orbyt_worker.sandbox.meta_model import DEAD_TOKENS, Locale, MetaConfig, TokenState

_CODES = re.compile(r"^(-?\d+)(?:/(\d+))?$")


@dataclass(slots=True)
class GraphError(Exception):
    """Raised by a handler to answer with Graph's envelope."""

    code: int
    message: str
    subcode: int | None = None
    status: int = 400
    kind: str = "OAuthException"
    user_title: str | None = None
    user_message: str | None = None
    data: Mapping[str, Any] | None = None
    transient: bool = False
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Exception.__init__(self, f"{self.code}/{self.subcode}: {self.message}")


@dataclass(slots=True)
class RuploadError(Exception):
    """Raised at rupload to answer with `debug_info`; there is no Graph envelope there."""

    kind: str
    message: str
    retriable: bool = False
    status: int = 400

    def __post_init__(self) -> None:
        Exception.__init__(self, f"{self.kind}: {self.message}")


def graph_error(
    code: int,
    message: str,
    *,
    subcode: int | None = None,
    status: int = 400,
    kind: str = "OAuthException",
    user_title: str | None = None,
    user_message: str | None = None,
    data: Mapping[str, Any] | None = None,
    transient: bool = False,
    headers: Mapping[str, str] | None = None,
) -> GraphError:
    """An error to raise; `message` without the "(#code)" that Graph puts in front of most."""
    return GraphError(
        code, message, subcode, status, kind, user_title, user_message, data, transient, dict(headers or {})
    )


def bad_parameter(message: str, *, subcode: int | None = None, data: Mapping[str, Any] | None = None) -> GraphError:
    """Code 100."""
    return graph_error(100, message, subcode=subcode, data=data)


def unreadable(node: str, method: str) -> GraphError:
    """Code 100, subcode 33: unknown id, no permission to see it, or no such edge. Graph does not say which."""
    word = {"GET": "get", "POST": "post", "DELETE": "delete"}.get(method, "get")
    return graph_error(
        100,
        f"Unsupported {word} request. Object with ID '{node}' does not exist, cannot be loaded due to missing permissions, or does not support this operation.",
        subcode=33,
        kind="GraphMethodException",
    )


def dead_token(state: TokenState) -> GraphError:
    """Code 190 with the subcode of what happened to the token."""
    subcode, text = DEAD_TOKENS[state]
    return graph_error(190, f"Error validating access token: {text}", subcode=subcode)


def unparsable_token() -> GraphError:
    """Code 190 without a subcode: unknown, malformed, or of the other login."""
    return graph_error(190, "Invalid OAuth access token - Cannot parse access token")


def render(error: GraphError, config: MetaConfig) -> Response:
    """The answer of an error, in the language switched on."""
    message, title, text = _texts(error, config.locale)
    body: dict[str, Any] = {
        "message": message,
        "type": error.kind,
        "code": error.code,
    }
    if error.subcode is not None:
        body["error_subcode"] = error.subcode
        body["is_transient"] = error.transient
    elif error.transient:
        body["is_transient"] = True
    if title is not None:
        body["error_user_title"] = title
        body["error_user_msg"] = text
    if error.data is not None:
        body["error_data"] = json.dumps(error.data) if config.error_data_as_text else dict(error.data)
    body["fbtrace_id"] = "A" + secrets.token_urlsafe(16)
    return JSONResponse({"error": body}, status_code=error.status, headers=error.headers)


def render_rupload(error: RuploadError) -> Response:
    """The answer of an error at rupload."""
    return JSONResponse(
        {"debug_info": {"retriable": error.retriable, "type": error.kind, "message": error.message}},
        status_code=error.status,
    )


def graph_envelope(status: int, reason: str | None, message: str | None) -> Any:
    """The body of a `status` fault: `reason` is "code" or "code/subcode"; otherwise 2 for 5xx, 1 for the rest."""
    match = _CODES.match(reason or "")
    code = int(match[1]) if match else (2 if status >= 500 else 1)
    error: dict[str, Any] = {"message": message or "An unexpected error has occurred. Please retry your request later."}
    error |= {"type": "OAuthException", "code": code, "is_transient": status >= 500}
    if match and match[2]:
        error["error_subcode"] = int(match[2])
    return {"error": {**error, "fbtrace_id": "A" + secrets.token_urlsafe(16)}}


def _texts(error: GraphError, locale: Locale) -> tuple[str, str | None, str | None]:
    """(message, user title, user message)."""
    if locale == "en_US":
        prefixed = error.code not in {190, 104, 2500, 1, 2, -1} and error.kind == "OAuthException"
        message = f"(#{error.code}) {error.message}" if prefixed else error.message
        return message, error.user_title, error.user_message
    title, text = _TEXTS[locale][_subject(error.code)]
    shown = error.user_title is not None
    return f"(#{error.code}) {text}", title if shown else None, text if shown else None


def _subject(code: int) -> str:
    if code in {102, 104, 190}:
        return "login"
    if code in {3, 10} or 200 <= code <= 299:
        return "permission"
    if code in {4, 9, 17, 32, 341, 613, 80001, 80002}:
        return "limit"
    if code in {352, 382, 389, 6000, 6001, 9004, 9007} or 36000 <= code <= 36999:
        return "media"
    if code == 506:
        return "duplicate"
    return "request" if code in {100, 24, 25} else "other"


_TEXTS: dict[str, dict[str, tuple[str, str]]] = {
    "de_DE": {
        "login": ("Anmeldung ungültig", "Der Zugriffsschlüssel konnte nicht bestätigt werden."),
        "permission": ("Berechtigung fehlt", "Für diese Aktion fehlt die nötige Berechtigung."),
        "limit": ("Limit erreicht", "Das Anfragelimit wurde erreicht. Bitte später erneut versuchen."),
        "media": ("Datei nicht verwendbar", "Die Datei konnte nicht geladen oder verarbeitet werden."),
        "duplicate": ("Doppelter Beitrag", "Dieser Beitrag ist mit dem vorherigen identisch."),
        "request": ("Ungültige Anfrage", "Ein Parameter ist ungültig oder das Objekt existiert nicht."),
        "other": ("Fehler", "Ein unbekannter Fehler ist aufgetreten."),
    },
    "ja_JP": {
        "login": ("ログインが無効です", "アクセストークンを検証できませんでした。"),
        "permission": ("権限がありません", "この操作に必要な権限がありません。"),
        "limit": ("上限に達しました", "リクエストの上限に達しました。後でもう一度お試しください。"),
        "media": ("ファイルを使用できません", "ファイルを取得または処理できませんでした。"),
        "duplicate": ("投稿が重複しています", "この投稿は直前の投稿と同じ内容です。"),
        "request": ("リクエストが無効です", "パラメータが無効か、オブジェクトが存在しません。"),
        "other": ("エラー", "不明なエラーが発生しました。"),
    },
}
