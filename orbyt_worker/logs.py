"""Structured logs, and the redaction that everything written passes through: events, nested values, tracebacks, library logs.

Event names are constants (`job.claimed`); details are keys; `job_id`, `platform` and `attempt` are bound once per job with
`structlog.contextvars.bound_contextvars`. Redaction is a safety net, not a licence: nothing secret should be logged at all.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import TracebackType
from typing import Any, Literal, TextIO
from urllib.parse import quote, quote_plus, unquote, urlsplit

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from orbyt_worker.errors.codes import ErrorCode

MASK = "[redacted]"

SECRETS_MAX = 4096
SECRET_CHARACTERS_MIN = 8
SECRETS_CHARACTERS_MAX = 16 * 1024 * 1024
VALUE_CHARACTERS_MAX = 8 * 1024
TRACEBACK_CHARACTERS_MAX = 32 * 1024
# Longer texts are cut before they are looked through.
SCAN_CHARACTERS_MAX = 256 * 1024
DEPTH_MAX = 8
ITEMS_MAX = 200

Format = Literal["json", "console"]

# Libraries that say at "info" what we say ourselves, with addresses in it. They are heard from warning on.
_QUIET = (
    "httpx",
    "httpcore",
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "asyncio",
    "psycopg",
    "psycopg.pool",
    "supabase",
)
_OWN = ("orbyt", "orbyt_worker")

_TELLING = (
    r"tokens?|secrets?|passw(?:or)?d|pwd|authorization|cookies?|signatures?|sig|credentials?|jwt|api_?key|apikey|private_?key|master_?key|"
    r"signing_?key|secret_?key|upload_?id|upload_?url|session_?ur[il]|(?:code_?)?verifier|auth(?:orization)?_?code"
)
_SECRET_KEY = re.compile(rf"(?:^|_)(?:{_TELLING})(?:_|$)")
# `token_expires_at` and the like say something about a secret without being one.
_ABOUT_A_SECRET = re.compile(r"_(?:at|seconds|type|count|version|status|outcome|bytes|max|min)$")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[-.\s]")

# Every part is linear, or bounded where it could start again and again: this reads texts that others wrote.
_PATTERN = re.compile(
    r"(?P<pem>-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z))"
    r"|(?P<url>\b[a-z][a-z0-9+.\-]{1,20}://[^\s\"'<>\\]+)"
    r"|(?P<query>\?[^\s\"'<>?=]{1,200}=[^\s\"'<>\\]*)"
    r"|(?P<scheme>\b(?:Bearer|Basic|OAuth))\s+[A-Za-z0-9._~+/=\-]{6,}"
    r"|(?P<jwt>\beyJ[A-Za-z0-9_\-]{6,1000}\.[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]*)?)"
    # Google access and refresh tokens and client secrets, Meta tokens, Supabase secret keys.
    r"|(?P<known>\bya29\.[A-Za-z0-9_\-.]{8,}|\b1//[A-Za-z0-9_\-]{10,}|\bGOCSPX-[A-Za-z0-9_\-]{8,}|\bEAA[A-Za-z0-9]{20,}|\bsb_secret_[A-Za-z0-9_\-]{8,})"
    # A cookie header goes to the end of its line; it has several values.
    r"|(?P<cookie>\b(?:set-)?cookie\s*:\s*)(?![\s\"'])[^\r\n\"']+"
    # What stands before the telling word is not looked at (`my_access_token`, `accessToken`), except that `code` stands alone.
    rf"|(?P<name>(?:(?<![A-Za-z])(?:{_TELLING})|(?-i:(?<=[a-z])(?:Token|Secret|Password|Signature|Verifier))|(?<![A-Za-z_\-])code)\\*[\"']?\s*[=:]\s*)"
    r"(?P<assigned>\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|\\+[\"'][^\"'\\]*|(?:(?:Bearer|Basic|OAuth)\s+)?[^\s,;&\"']+)",
    re.IGNORECASE | re.DOTALL,
)

_CODE_NAME = re.compile(r"code\\*[\"']?\s*[=:]\s*", re.IGNORECASE)
_STATUS = re.compile(r"\d{1,6}")
_CATALOG_CODES = frozenset(code.value for code in ErrorCode)


class Redactor:
    """Masks registered values, URL queries and user names, credentials by their look, and values under telling keys.

    Bounded: the 4096 newest registered values (`keep=True` ones stay), at most 16 MiB of them. Values shorter than eight
    characters are ignored, because masking them would tear up ordinary words. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._secrets: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._kept: set[str] = set()
        # First eight characters -> the values that begin so. Looking a text through costs its length, however many there are.
        self._by_start: dict[str, tuple[str, ...]] = {}
        self._characters = 0
        self._longest = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Redactor({len(self._secrets)} values)"

    def register(self, secret: str, *, keep: bool = False) -> None:
        """Mask this value from now on, as it is and as it looks inside JSON, a URL or a repr. Cheap to repeat.

        `keep`: for the few that live as long as the process (client secrets); they are never displaced.
        """
        if len(secret) < SECRET_CHARACTERS_MIN:
            return
        with self._lock:
            if keep:
                self._kept.add(secret)
            if secret in self._secrets:
                self._secrets.move_to_end(secret)
                return
            forms = _forms(secret)
            self._secrets[secret] = forms
            self._characters += sum(map(len, forms))
            for form in forms:
                start = form[:SECRET_CHARACTERS_MIN]
                self._by_start[start] = (*self._by_start.get(start, ()), form)
                self._longest = max(self._longest, len(form))
            self._displace()

    def _displace(self) -> None:
        tries = len(self._secrets)
        while tries > 0 and (
            len(self._secrets) > SECRETS_MAX + len(self._kept) or self._characters > SECRETS_CHARACTERS_MAX
        ):
            tries -= 1
            secret, forms = self._secrets.popitem(last=False)
            if secret in self._kept:
                self._secrets[secret] = forms
                continue
            self._characters -= sum(map(len, forms))
            for form in forms:
                start = form[:SECRET_CHARACTERS_MIN]
                left = list(self._by_start[start])
                left.remove(form)
                if left:
                    self._by_start[start] = tuple(left)
                else:
                    del self._by_start[start]

    # Texts -------------------------------------------------------------------------------------------------------------

    def text(self, text: str, *, characters_max: int = VALUE_CHARACTERS_MAX, keep_end: bool = False) -> str:
        """The text without secrets, at most `characters_max` long (its end with `keep_end`, as for tracebacks)."""
        if len(text) < SECRET_CHARACTERS_MIN:
            return text
        cut = len(text) > SCAN_CHARACTERS_MAX
        if cut:
            text = text[-SCAN_CHARACTERS_MAX:] if keep_end else text[:SCAN_CHARACTERS_MAX]
        text = _PATTERN.sub(_masked, self._without_registered(text))
        if cut:
            # A secret may have been cut in two: what remains of it is at the cut.
            text = text[self._longest :] if keep_end else text[: max(0, len(text) - self._longest)]
        if len(text) > characters_max:
            text = "…" + text[-characters_max:] if keep_end else text[:characters_max] + "…"
        return text

    def _without_registered(self, text: str) -> str:
        by_start, width = self._by_start, SECRET_CHARACTERS_MIN
        if not by_start:
            return text
        spans: list[tuple[int, int]] = []
        for at in range(len(text) - width + 1):
            forms = by_start.get(text[at : at + width])
            if forms is not None:
                spans += [(at, at + len(form)) for form in forms if text.startswith(form, at)]
        if not spans:
            return text
        # Overlapping values are masked as one.
        parts: list[str] = []
        end = 0
        for start, stop in spans:
            if start >= end:
                parts += [text[end:start], MASK]
            end = max(end, stop)
        return "".join([*parts, text[end:]])

    # Values ------------------------------------------------------------------------------------------------------------

    def value(self, value: Any, *, key: str = "", depth: int = 0) -> Any:
        """Any value as plain JSON-able data without secrets. `key` is the name it stands under."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if key and _is_secret_key(key) and not (_exact(key) == "code" and str(value) in _CATALOG_CODES):
            return MASK
        if isinstance(value, str):
            # str(): an enum's member would otherwise keep its own repr.
            return self.text(str(value))
        if isinstance(value, bytes | bytearray | memoryview):
            return f"<{len(value)} bytes>"
        if isinstance(value, BaseException):
            return self.text(f"{type(value).__name__}: {value}")
        if depth >= DEPTH_MAX:
            return "<nested too deeply>"
        if isinstance(value, Mapping):
            items = list(value.items())[:ITEMS_MAX]
            return {self.text(str(name)): self.value(each, key=str(name), depth=depth + 1) for name, each in items}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(each, depth=depth + 1) for each in list(value)[:ITEMS_MAX]]
        return self.text(str(value))

    def __call__(self, logger: WrappedLogger, method_name: str, event_dict: EventDict) -> EventDict:
        """The structlog processor. It must stand after the one that formats exceptions, before the renderer."""
        clean: EventDict = {}
        for key, value in event_dict.items():
            if key in ("_record", "_from_structlog"):
                clean[key] = value
            elif key in ("exception", "stack") and isinstance(value, str):
                clean[key] = self.text(value, characters_max=TRACEBACK_CHARACTERS_MAX, keep_end=True)
            else:
                clean[self.text(key)] = self.value(value, key=key)
        return clean


def _forms(secret: str) -> tuple[str, ...]:
    """The value as it may be written: plain, in JSON, in a repr, in a URL, the lines of a longer text, a URL's password."""
    forms = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    try:
        forms |= {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    except UnicodeEncodeError:
        # A lone surrogate cannot stand in a URL at all.
        forms.add(ascii(secret)[1:-1])
    if "\n" in secret:
        forms |= {line.strip() for line in secret.splitlines()}
    forms |= set(_password_of(secret))
    return tuple(sorted((form for form in forms if len(form) >= SECRET_CHARACTERS_MIN), key=len, reverse=True))


def _password_of(text: str) -> Iterable[str]:
    if "://" not in text or "@" not in text:
        return ()
    try:
        password = urlsplit(text).password
    except ValueError:
        return ()
    return (password, unquote(password)) if password else ()


@lru_cache(maxsize=2048)
def _is_secret_key(key: str) -> bool:
    name = _CAMEL.sub("_", key).lower()
    return name == "code" or (_SECRET_KEY.search(name) is not None and _ABOUT_A_SECRET.search(name) is None)


def _exact(key: str) -> str:
    return key.strip("\"'").lower()


def _masked(match: re.Match[str]) -> str:
    if url := match["url"]:
        return _bare_url(url)
    if match["query"]:
        return f"?{MASK}"
    if scheme := match["scheme"]:
        return f"{scheme} {MASK}"
    if cookie := match["cookie"]:
        return f"{cookie}{MASK}"
    if name := match["name"]:
        return _without_assigned(name, match["assigned"])
    return MASK


def _without_assigned(name: str, assigned: str) -> str:
    """`name=` with its value masked, unless it is masked already or is no secret; closing brackets stay."""
    value = assigned.strip("\"'")
    masked_already = value.startswith(MASK) and not value[len(MASK) :].strip("]})\\")
    # `code: media_not_found`, `code=403`: a catalog code or a status, not an OAuth code.
    bare = value.rstrip("]})")
    harmless = _CODE_NAME.fullmatch(name) and (bare in _CATALOG_CODES or _STATUS.fullmatch(bare))
    if masked_already or harmless:
        return name + assigned
    return f"{name}{MASK}" + ("" if assigned[0] in "\"'" else assigned[len(assigned.rstrip("]})")) :])


def _bare_url(url: str) -> str:
    """Scheme, host and path; nothing of the user name, query or fragment."""
    scheme, rest = url.split("://", 1)
    end = min((at for at in (rest.find("?"), rest.find("#")) if at >= 0), default=len(rest))
    kept = rest[:end]
    authority, slash, path = kept.partition("/")
    if "@" in authority:
        authority = f"{MASK}@{authority.rpartition('@')[2]}"
    return f"{scheme}://{authority}{slash}{path}" + (f"?{MASK}" if end < len(rest) else "")


# Set-up ----------------------------------------------------------------------------------------------------------------


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines. The standard handler prints message and arguments when formatting fails: they may hold secrets."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[0]
        line = {
            "event": "log.failed",
            "level": "error",
            "logger": record.name,
            "error": error.__name__ if error else "unknown",
        }
        # A closed or full stream cannot be told about itself.
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(json.dumps(line) + "\n")


def configure(*, level: str = "info", fmt: str = "json", redactor: Redactor, stream: TextIO | None = None) -> None:
    """Send our events and the libraries' warnings as lines to `stream` (standard error by default). May be called again.

    `level`: debug, info, warning or error, for our own loggers; libraries are heard from warning on. `fmt`: json or console.
    """
    target = stream if stream is not None else sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redactor,
    ]
    structlog.configure(
        # Redacted before it becomes a log record, so that any other handler sees nothing else either.
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        # Tests configure more than once; a cached logger would keep the redactor of the first time.
        cache_logger_on_first_use=False,
    )
    handler = _Handler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(fmt, target)],
        )
    )
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in _OWN:
        logging.getLogger(name).setLevel(level.upper())
    for name in _QUIET:
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        # uvicorn may have brought handlers of its own.
        logger.handlers.clear()
        logger.propagate = True
    sys.excepthook = _log_uncaught


def _renderer(fmt: str, stream: TextIO) -> Processor:
    if fmt == "json":
        # ASCII: a caption with half a surrogate pair must not cost the line.
        return structlog.processors.JSONRenderer(ensure_ascii=True)
    # The traceback is text by now; rich ones would print local variables, tokens included.
    return structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Instead of Python's own traceback on standard error, which nobody has redacted."""
    if issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger("orbyt_worker").critical("process.crashed", exc_info=(kind, error, trace))
