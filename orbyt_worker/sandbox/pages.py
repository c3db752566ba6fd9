"""The pages of the login simulators: plain HTML a person or a browser driven by a test can read and click, nothing loaded from elsewhere.

Every control has a label and an id: `#approve`, `#cancel`, and for a checkbox or an option its name and value.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from orbyt_worker.sandbox.wire import FORM_BYTES_MAX, read_body

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:0;background:#f2f3f5;color:#1c1e21}"
    "main{max-width:34rem;margin:2rem auto;padding:1.5rem 2rem;background:#fff;border-radius:8px}"
    "h1{font-size:1.35rem}fieldset{border:1px solid #ccd0d5;border-radius:6px;margin:1rem 0;min-width:0}"
    "label{display:block;margin:.35rem 0}fieldset label{display:flex;gap:.5rem;overflow-wrap:anywhere}"
    "select,button{font:inherit;padding:.4rem .9rem;max-width:100%}strong{overflow-wrap:anywhere}"
    "button{margin-right:.6rem;border:1px solid #888;border-radius:6px}#approve{background:#0a5ad6;color:#fff}"
    ".note{color:#5a5f66;font-size:.9rem}"
)
# Forms may lead anywhere: the answer to one is the redirect to the app.
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
}


class PageError(Exception):
    """Raised to end on the platform's own page: nothing ever comes back to the app."""

    def __init__(self, title: str, text: str, status: int = 400) -> None:
        super().__init__(f"{title}: {text}")
        self.response = document(title, paragraph(text, "error"), status)


def document(title: str, body: str, status: int = 200) -> Response:
    """A page; `body` is HTML."""
    shown = html.escape(title)
    return HTMLResponse(
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{shown}</title><style>{_STYLE}</style></head><body><main><h1>{shown}</h1>{body}</main></body></html>",
        status_code=status,
        headers=_HEADERS,
    )


def paragraph(text: str, css: str = "note") -> str:
    """Text of a page."""
    return f'<p class="{css}">{html.escape(text)}</p>'


def fact(name: str, value: str) -> str:
    """A value to read; its id is its name."""
    key = html.escape(name)
    return f'<p>{key}: <strong id="{key}">{html.escape(value)}</strong></p>'


def hidden(values: Iterable[tuple[str, str]]) -> str:
    """Values a form carries along."""
    return "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">' for name, value in values
    )


def checkbox(name: str, value: str, label: str, *, checked: bool = True) -> str:
    """One box to tick; its id is `name-value`."""
    key, marked = html.escape(f"{name}-{value}"), " checked" if checked else ""
    return (
        f'<label for="{key}"><input type="checkbox" id="{key}" name="{html.escape(name)}" value="{html.escape(value)}"{marked}> '
        f"{html.escape(label)}</label>"
    )


def checkboxes(legend: str, boxes: Sequence[str]) -> str:
    """A group of boxes; nothing when there are none."""
    return f"<fieldset><legend>{html.escape(legend)}</legend>{''.join(boxes)}</fieldset>" if boxes else ""


def select(name: str, label: str, options: Iterable[tuple[str, str]], chosen: str | None = None) -> str:
    """A list to choose one (value, text) of; its id is its name."""
    key = html.escape(name)
    rows = "".join(
        f'<option value="{html.escape(value)}"{" selected" if value == chosen else ""}>{html.escape(text)}</option>'
        for value, text in options
    )
    return f'<label for="{key}">{html.escape(label)} <select id="{key}" name="{key}">{rows}</select></label>'


def consent_form(request: Request, parts: str) -> str:
    """The form of a consent page: posts back to its own address, query included."""
    action = html.escape(f"{request.url.path}?{request.url.query}")
    return (
        f'<form id="consent" method="post" action="{action}">{parts}'
        '<button type="submit" id="approve" name="decision" value="approve">Continue</button>'
        '<button type="submit" id="cancel" name="decision" value="cancel">Cancel</button></form>'
    )


def switch_form(request: Request, parameter: str, label: str, options: Sequence[tuple[str, str]], chosen: str) -> str:
    """A form that shows the same page for somebody else; nothing when there is nobody else."""
    if len(options) < 2:
        return ""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != parameter]
    return (
        f'<form id="switch" method="get" action="{html.escape(request.url.path)}">{hidden(kept)}'
        f'{select(parameter, label, options, chosen)}<button type="submit" id="switch-person">Switch</button></form>'
    )


async def read_choices(request: Request) -> Mapping[str, Sequence[str]]:
    """What was chosen in a posted form, every value of every name; raises PageError when it is no form."""
    body = await read_body(request, FORM_BYTES_MAX)
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if body is None or kind != "application/x-www-form-urlencoded":
        raise PageError("Something went wrong", "The form could not be read.")
    chosen: dict[str, list[str]] = {}
    for name, value in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True):
        chosen.setdefault(name, []).append(value)
    if chosen.get("decision") not in (["approve"], ["cancel"]):
        raise PageError("Something went wrong", "Neither Continue nor Cancel was chosen.")
    return chosen


def back(redirect_uri: str, values: Mapping[str, str | None], fragment: str = "") -> Response:
    """The redirect to the app, its own query kept; values that are None are left out."""
    parts = urlsplit(redirect_uri)
    query = urlencode({name: value for name, value in values.items() if value is not None})
    joined = f"{parts.query}&{query}" if parts.query else query
    return RedirectResponse(urlunsplit(parts._replace(query=joined, fragment=fragment)), status_code=302)
