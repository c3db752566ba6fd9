"""Redaction: a planted secret is in no line, wherever it was put; ordinary words survive."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from orbyt_worker import logs
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.logs import MASK, SECRETS_MAX, Format, Redactor, configure

SOURCE = Path(__file__).resolve().parents[2] / "orbyt_worker"
# Anything a token could be made of, and much it could not. Nothing that is part of a line anyway.
SECRETS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=8, max_size=60).filter(
    lambda text: len(text.strip()) >= 8 and not re.fullmatch(r"[\w\s.\-:\[\]]*", text) and MASK not in text
)
TOKENS = st.from_regex(r"[A-Za-z0-9_\-]{24,60}", fullmatch=True)


class Lines:
    """What was written, as text and as parsed lines."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    """Logging is global: put back what a test configured."""
    names = ("", *logs._QUIET, *logs._OWN)
    before = [(name, logging.getLogger(name).level, list(logging.getLogger(name).handlers)) for name in names]
    hook = sys.excepthook
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    sys.excepthook = hook
    for name, level, handlers in before:
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers[:] = handlers


def configured(redactor: Redactor | None = None, *, level: str = "debug", fmt: Format = "json") -> Lines:
    lines = Lines()
    configure(level=level, fmt=fmt, redactor=redactor or Redactor(), stream=lines.stream)
    return lines


def with_secret(secret: str) -> Redactor:
    redactor = Redactor()
    redactor.register(secret)
    return redactor


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)


def absent(secret: str, lines: Lines) -> None:
    assert lines.rows
    for text in (lines.text, *strings(lines.rows)):
        assert secret not in text


# Planted everywhere ------------------------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(secret=SECRETS | TOKENS, around=st.text(max_size=20), data=st.data())
def test_a_registered_value_is_in_no_line(secret: str, around: str, data: st.DataObject) -> None:
    lines = configured(with_secret(secret))
    text = around + secret + around
    places: dict[str, Any] = {
        "plain": text,
        "list": [1, [text]],
        "mapping": {"inner": {text: text}},
        "tuple": (text, {text}),
        "error": ValueError(text),
        "object": SecretStr(text),
        "url": f"https://host/{quote(secret, safe='')}/x",
        "as_json": json.dumps({"a": secret}),
        "as_repr": repr([secret]),
        "octets": text.encode("utf-8"),
    }
    chosen = data.draw(st.lists(st.sampled_from(sorted(places)), min_size=1, unique=True))
    log = structlog.get_logger("orbyt_worker.test")
    log.info("test.planted", **{key: places[key] for key in chosen})
    log.info(text)
    with structlog.contextvars.bound_contextvars(bound=text):
        log.warning("test.bound")
    absent(secret, lines)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(secret=SECRETS | TOKENS, fmt=st.sampled_from(["json", "console"]))
def test_a_registered_value_is_in_no_traceback(secret: str, fmt: Format) -> None:
    lines = configured(with_secret(secret), fmt=fmt)

    def fail() -> None:
        local = secret
        try:
            raise KeyError(local)
        except KeyError as error:
            error.add_note(f"note {local}")
            raise Failure(ErrorCode.INTERNAL_ERROR, local) from error

    for logger in (structlog.get_logger("orbyt_worker.test"), logging.getLogger("uvicorn.error")):
        try:
            fail()
        except Failure:
            logger.exception("test.crashed")
    try:
        raise ExceptionGroup(secret, [ValueError(secret), RuntimeError("x" + secret)])
    except ExceptionGroup:
        structlog.get_logger("orbyt_worker.test").error("test.group", exc_info=True, stack_info=True)
    assert "Traceback" in lines.text
    assert secret not in lines.text
    if fmt == "json":
        absent(secret, lines)


@given(secret=TOKENS)
def test_values_meet_and_overlap(secret: str) -> None:
    redactor = with_secret(secret)
    redactor.register(secret[10:] + "-and-more")
    redactor.register(secret[:12])
    shown = redactor.text(f"a{secret}-and-moreb {secret[:12]}")
    assert secret[:12] not in shown
    assert "-and-more" not in shown
    assert shown == f"a{MASK}b {MASK}"


@pytest.mark.parametrize(
    "leak",
    [
        "GET https://host/path?upload_id=SECRETVALUE&x=1",
        "https://user:SECRETVALUE@host/path",
        "postgresql://role:SECRETVALUE@db:5432/postgres?sslmode=require",
        "https://host/path#access_token=SECRETVALUE",
        "wss://host/socket?apikey=SECRETVALUE",
        "/upload/youtube/v3/videos?uploadType=resumable&upload_id=SECRETVALUE",
        "Authorization: Bearer SECRETVALUE",
        "authorization=SECRETVALUE",
        "{'Authorization': 'Bearer SECRETVALUE'}",
        '{"access_token":"SECRETVALUE","expires_in":3599}',
        '{"refresh_token" : "SECRETVALUE with spaces"}',
        "client_secret=SECRETVALUE&grant_type=refresh_token",
        "code=SECRETVALUE&state=1",
        "password=SECRETVALUE host=db",
        "Set-Cookie: SECRETVALUE; Path=/",
        "Cookie: a=SECRETVALUE; b=SECRETVALUE",
        "headers [(b'authorization', b'Bearer SECRETVALUE')]",
        r"{\"access_token\": \"SECRETVALUE\"}",
        r'"client_secret": "with \" quote SECRETVALUE"',
        '{"accessToken": "SECRETVALUE"}',
        "my-own_access_token=SECRETVALUE",
        "password=ab]SECRETVALUE)",
        "token=[redacted]SECRETVALUE",
        "X-Hub-Signature: SECRETVALUE",
        "code_verifier: SECRETVALUE",
        "-----BEGIN RSA PRIVATE KEY-----\nSECRETVALUE\nSECRETVALUE\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nSECRETVALUE",
        "ya29.SECRETVALUE",
        "1//SECRETVALUEabc",
        "GOCSPX-SECRETVALUE",
        "sb_secret_SECRETVALUE",
        "eyJhbGciOi.SECRETVALUE.SECRETVALUE",
    ],
)
def test_credentials_are_known_by_their_look(leak: str) -> None:
    redactor = Redactor()
    for text in (leak, f"it said: {leak}", f"'{leak}'"):
        shown = redactor.text(text)
        assert "SECRETVALUE" not in shown
        assert MASK in shown
        assert redactor.text(shown) == shown


@pytest.mark.parametrize(
    "key",
    [
        *(
            "token",
            "access_token",
            "accessToken",
            "refresh-token",
            "client_secret",
            "code",
            "authorization",
            "Authorization",
            "Cookie",
        ),
        *(
            "set-cookie",
            "password",
            "db_password",
            "upload_id",
            "uploadId",
            "x-hub-signature",
            "api_key",
            "apikey",
            "private_key",
        ),
        *("secret_value", "id_token", "code_verifier", "session_uri", "credentials", "jwt", "signing_key"),
    ],
)
def test_values_under_telling_names_are_masked(key: str) -> None:
    assert Redactor().value({"outer": [{key: "anything"}]}) == {"outer": [{key: MASK}]}
    assert Redactor().value({key: {"nested": "anything"}}) == {key: MASK}


def test_ordinary_values_survive() -> None:
    redactor = Redactor()
    event = {
        "event": "job.failed_attempt",
        "code": "media_not_found",
        "platform_code": "rateLimitExceeded",
        "token_expires_at": "2026-11-23T12:00:00Z",
        "tokens": 3,
        "key_id": "2026-11",
        "http_status": 403,
        "name": "youtube.videos.insert",
        "host": "www.googleapis.com",
        "seconds": 1.5,
        "ok": True,
        "nothing": None,
        "detail": "youtube.videos.insert: HTTP 403, quotaExceeded",
        "design": "sig is a word, tokenise: no; platform_code=rateLimitExceeded",
        "text": "code=403 and code: media_not_found; is it there? 1/2",
        "url": "https://www.youtube.com/watch",
    }
    assert redactor(None, "info", dict(event)) == event


def test_other_types_become_text() -> None:
    clean = Redactor().value(
        {"path": Path("/var/x"), "octets": b"\0" * 9, "code": ErrorCode.MEDIA_NOT_FOUND, "set": {1}}
    )
    assert clean == {"path": "/var/x", "octets": "<9 bytes>", "code": "media_not_found", "set": [1]}


# Bounds --------------------------------------------------------------------------------------------------------------


def test_the_oldest_values_are_displaced_but_not_the_kept_ones() -> None:
    redactor = Redactor()
    redactor.register("kept-for-ever", keep=True)
    redactor.register("the-very-first")
    for number in range(SECRETS_MAX):
        redactor.register(f"{number:06d}-secret")
    assert redactor.text("kept-for-ever") == MASK
    assert redactor.text("the-very-first") == "the-very-first"
    assert redactor.text(f"{SECRETS_MAX - 1:06d}-secret") == MASK
    assert len(redactor._secrets) <= SECRETS_MAX + 1
    assert sum(map(len, redactor._by_start.values())) <= 8 * (SECRETS_MAX + 1)


def test_registering_again_keeps_a_value_young() -> None:
    redactor = Redactor()
    redactor.register("used-all-the-time")
    for number in range(SECRETS_MAX * 2):
        redactor.register(f"{number:06d}-secret")
        if number % 1000 == 0:
            redactor.register("used-all-the-time")
    assert redactor.text("used-all-the-time") == MASK


def test_the_memory_of_long_values_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "SECRETS_CHARACTERS_MAX", 100_000)
    redactor = Redactor()
    for number in range(100):
        redactor.register(f"{number:03d}" + "x" * 10_000)
    assert redactor._characters <= 100_000
    assert redactor.text("099" + "x" * 10_000) == MASK


def test_short_values_are_ignored() -> None:
    redactor = Redactor()
    for short in ("", "a", "publish"):
        redactor.register(short)
    assert redactor.text("to publish a post") == "to publish a post"


@pytest.mark.parametrize("keep_end", [False, True])
def test_long_texts_are_cut_and_no_piece_of_a_secret_is_left(keep_end: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "SCAN_CHARACTERS_MAX", 1000)
    secret = "abcdefghijklmnopqrstuvwxyz"
    redactor = with_secret(secret)
    for shift in range(60):
        text = "." * (970 + shift) + secret + "." * 5000
        shown = redactor.text(text, characters_max=990)
        assert len(shown) <= 991
        assert "abc" not in shown
    for shift in range(60):
        text = "." * 5000 + secret + "." * (970 + shift)
        assert "xyz" not in redactor.text(text, characters_max=990, keep_end=True)
    assert len(redactor.text("y" * 100_000, characters_max=500, keep_end=keep_end)) == 501


@pytest.mark.parametrize(
    "piece",
    [
        "a-",
        "a_",
        "token",
        "code=",
        "token=",
        'token="',
        "token: ",
        "?",
        "?a",
        "x",
        "https://",
        "a.b+c",
        "eyJ",
        "eyJ-",
        "-----BEGIN ",
        "\\",
        "Bearer ",
        "Bearer",
        " ",
        "1//",
        "EAA",
        "cookie:",
        "secret \\",
        "@",
        "http://a@",
    ],
)
def test_hostile_texts_cost_their_length(piece: str) -> None:
    """A pattern that starts over and over would not come back before the test's timeout."""
    redactor = with_secret("aaaaaaaaaa")
    for text in (piece * (logs.SCAN_CHARACTERS_MAX // len(piece)), "token=" + piece * 50_000, "?" + piece * 50_000):
        redactor.text(text)


def test_deep_wide_and_circular_values_are_cut() -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    redactor = Redactor()
    assert "nested too deeply" in json.dumps(redactor.value(circle))
    assert len(redactor.value(list(range(10_000)))) == logs.ITEMS_MAX


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_redaction_is_total_and_repeatable(value: Any) -> None:
    redactor = with_secret("some-registered-secret")
    once = redactor.value(value)
    json.dumps(once)
    assert redactor.value(once) == once


def test_registering_from_several_threads() -> None:
    redactor = Redactor()

    def register(start: int) -> None:
        for number in range(start, start + 2000):
            redactor.register(f"{number:06d}-secret")
            redactor.text(f"{number:06d}-secret and {start:06d}-secret")

    threads = [threading.Thread(target=register, args=(start,)) for start in (0, 1000, 2000, 3000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert redactor.text("004999-secret") == MASK
    assert sum(map(len, redactor._by_start.values())) == sum(map(len, redactor._secrets.values()))


# Set-up --------------------------------------------------------------------------------------------------------------


def test_a_line_has_its_parts() -> None:
    lines = configured()
    with structlog.contextvars.bound_contextvars(job_id="j1", platform="youtube", attempt=2):
        structlog.get_logger("orbyt_worker.test").info("job.claimed", slots=3)
    (row,) = lines.rows
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", row.pop("timestamp"))
    assert row == {
        "event": "job.claimed",
        "level": "info",
        "logger": "orbyt_worker.test",
        "job_id": "j1",
        "platform": "youtube",
        "attempt": 2,
        "slots": 3,
    }


def test_libraries_are_heard_from_warning_on() -> None:
    lines = configured()
    for name in ("httpx", "httpcore", "uvicorn.access", "uvicorn.error", "some.library"):
        logging.getLogger(name).info("GET /secret")
        logging.getLogger(name).warning("went wrong at %s", "https://host/x?token=abc")
    assert [row["event"] for row in lines.rows] == [f"went wrong at https://host/x?{MASK}"] * 5


def test_the_level_is_for_our_own_loggers() -> None:
    lines = configured(level="warning")
    structlog.get_logger("orbyt_worker.test").info("test.quiet")
    structlog.get_logger("orbyt.http").info("test.quiet")
    structlog.get_logger("orbyt_worker.test").warning("test.loud")
    assert [row["event"] for row in lines.rows] == ["test.loud"]


def test_configuring_again_replaces() -> None:
    first, second = configured(with_secret("first-secret")), configured(with_secret("second-secret"))
    structlog.get_logger("orbyt_worker.test").info("test.once", value="second-secret")
    assert first.text == ""
    assert [row["value"] for row in second.rows] == [MASK]


def test_a_message_that_cannot_be_formatted_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = configured()
    # Straight to our handler: pytest's own raise what they cannot format.
    (handler,) = (each for each in logging.getLogger().handlers if isinstance(each, logs._Handler))
    handler.handle(logging.LogRecord("httpx", logging.WARNING, __file__, 1, "%d items", ("SECRETVALUE",), None))
    assert lines.rows == [{"event": "log.failed", "level": "error", "logger": "httpx", "error": "TypeError"}]
    assert "SECRETVALUE" not in "".join(capsys.readouterr())


def test_a_closed_stream_prints_nothing_either(capsys: pytest.CaptureFixture[str]) -> None:
    lines = configured()
    lines.stream.close()
    structlog.get_logger("orbyt_worker.test").warning("test.lost", value="SECRETVALUE")
    assert "SECRETVALUE" not in "".join(capsys.readouterr())


def test_half_a_surrogate_pair_does_not_cost_the_line() -> None:
    lines = configured(with_secret("secret-\ud83d-half"))
    structlog.get_logger("orbyt_worker.test").info("test.odd", text="\ud83d", value="a secret-\ud83d-half b")
    assert lines.text.isascii()
    assert lines.rows[0]["value"] == f"a {MASK} b"


def test_an_uncaught_exception_is_a_line() -> None:
    lines = configured(with_secret("secret-in-a-crash"))
    try:
        raise RuntimeError("secret-in-a-crash")
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    (row,) = lines.rows
    assert row["event"] == "process.crashed"
    assert f"RuntimeError: {MASK}" in row["exception"]


def test_what_other_handlers_see_is_redacted_too(caplog: pytest.LogCaptureFixture) -> None:
    configured(with_secret("secret-for-others"))
    structlog.get_logger("orbyt_worker.test").warning("test.shared", value="secret-for-others")
    assert caplog.records
    assert "secret-for-others" not in caplog.text
    assert all("secret-for-others" not in repr(record.__dict__) for record in caplog.records)


def test_event_names_are_constants() -> None:
    """`log.info("job.claimed", …)`: a text with values in it can be neither searched nor counted."""
    methods = {"debug", "info", "warning", "error", "exception", "critical"}
    for path in sorted(SOURCE.rglob("*.py")):
        if "sandbox" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in methods
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in {"log", "_log", "logger"}
            ):
                name = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
                place = f"{path.relative_to(SOURCE)}:{node.lineno}"
                assert isinstance(name, str), place
                assert re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", name), place
