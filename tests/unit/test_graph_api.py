"""`platforms/graph_api.py`: where a call goes, what it carries, and what is made of the answer; against a replaced transport."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from orbyt_worker.doctor import VERSION_DAYS_MIN, graph_version
from orbyt_worker.errors.catalog import Scope
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Account, Job, Kind, Phase, Post
from orbyt_worker.platforms import graph_api
from orbyt_worker.platforms.base import StepContext, Usage
from orbyt_worker.platforms.graph_api import VERSION_ENDS, FilePart, Host, usages
from orbyt_worker.platforms.http import ApiClient
from orbyt_worker.settings import Settings
from tests.fix_clock import FakeClock, fake_runtime

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PAGE, IG = "1784", "17841400000000001"
TOKENS = {"access_token": "EAA-planted-page", "user_token": "EAA-planted-user"}
SECRET = "planted-app-secret"
BASE: dict[str, Any] = {
    "environment": "sandbox",
    "database_url": SecretStr("postgresql://worker@127.0.0.1/orbyt"),
    "meta_app_id": "42",
    "meta_app_secret": SecretStr(SECRET),
}
UPLOAD = "https://rupload.facebook.com/video-upload/v25.0/77"


class World:
    """One account, and a Meta that answers from a list (the last answer stays). `requests` are what it was sent."""

    def __init__(
        self, *answers: httpx.Response, platform: str = "facebook", login: str = "facebook", **config: Any
    ) -> None:
        self.answers = list(answers) or [httpx.Response(200, json={"id": "1"})]
        self.requests: list[httpx.Request] = []
        self.asked_for: list[str | None] = []
        self.seen: list[Usage] = []
        self.clock = FakeClock(NOW)
        self.runtime = fake_runtime(self.clock)
        account = Account(
            *(uuid.UUID(int=1), uuid.UUID(int=2), platform, PAGE if platform == "facebook" else IG, "Corner Shop"),
            login=login,
        )
        post = Post(Kind.TEXT, None, "hello", (), {}, NOW, NOW + timedelta(days=1))
        self.job = Job(uuid.UUID(int=3), 1, 0, Phase.BACKGROUND, account, post, NOW, NOW)
        self.config = Settings(**(BASE | config))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def run(self, call: Callable[..., Awaitable[Any]], *values: Any, **options: Any) -> Any:
        """`call(ctx, *values, **options)`."""

        async def access_token(*, fresh: bool = False, kind: str | None = None) -> str:
            self.asked_for.append(kind)
            return TOKENS[kind or "access_token"]

        async def usage(found: Sequence[Usage]) -> None:
            self.seen.extend(found)

        async def unused(*_: Any, **__: Any) -> Any:
            raise AssertionError("a call needs nothing else")

        async with ApiClient(self.runtime, transport=httpx.MockTransport(self._answer), sandbox=True) as http:
            context = StepContext(
                job=self.job,
                runtime=self.runtime,
                http=http,
                media=(),
                journal={},
                quota=None,  # type: ignore[arg-type]
                access_token=access_token,
                save=unused,
                forget=unused,
                progress=unused,
                now=self.clock.now,
                address=unused,
                cover_address=unused,
                cover=unused,
                document=unused,
                usage=usage,
                config=self.config,
            )
            return await call(context, *values, **options)

    async def refused(self, call: Callable[..., Awaitable[Any]], *values: Any, **options: Any) -> Failure:
        with pytest.raises(Failure) as caught:
            await self.run(call, *values, **options)
        return caught.value

    @property
    def request(self) -> httpx.Request:
        assert len(self.requests) == 1
        return self.requests[0]

    def form(self) -> dict[str, str]:
        return {key: value[0] for key, value in parse_qs(self.request.content.decode(), keep_blank_values=True).items()}


def error(code: int, subcode: int | None = None, **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"message": "planted text", "type": "OAuthException", "code": code, "fbtrace_id": "AbC1"}
    if subcode is not None:
        body["error_subcode"] = subcode
    return {"error": body | more}


# Where a call goes and what it carries -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("platform", "login", "host", "url"),
    [
        ("facebook", "facebook", Host.GRAPH, "https://graph.facebook.com/v25.0/1784/feed"),
        ("facebook", "facebook", Host.VIDEO, "https://graph-video.facebook.com/v25.0/1784/feed"),
        ("instagram", "facebook", Host.GRAPH, "https://graph.facebook.com/v25.0/1784/feed"),
        ("instagram", "instagram", Host.GRAPH, "https://graph.instagram.com/v25.0/1784/feed"),
    ],
)
async def test_the_host_follows_from_the_login(platform: str, login: str, host: Host, url: str) -> None:
    world = World(platform=platform, login=login)
    await world.run(graph_api.write, "t.feed", f"{PAGE}/feed", {"message": "x"}, host=host)
    assert str(world.request.url) == url
    world = World(platform=platform, login=login, meta_api_version="v26.0")
    await world.run(graph_api.read, "t.read", "9")
    assert world.request.url.path == "/v26.0/9"


async def test_the_token_is_in_a_header_and_in_no_address() -> None:
    for kind, token in TOKENS.items():
        world = World()
        await world.run(graph_api.read, "t.read", "9", {"fields": "id"}, token=kind)
        assert world.request.headers["authorization"] == f"Bearer {token}"
        assert "planted" not in str(world.request.url)
    # The ordinary token is asked for as such: only that way is it renewed ahead, and known when it is refused.
    world = World()
    await world.run(graph_api.write, "t.write", "9", {})
    assert world.asked_for == [None]


async def test_fields_are_forms_with_nested_values_as_json() -> None:
    world = World(meta_appsecret_proof="off")
    fields = {
        "message": "größer & 100 % #ok",
        "thumb_offset": 0,
        "published": False,
        "scale": 0.5,
        "empty": "",
        "absent": None,
        "attached_media": [{"media_fbid": "1"}, {"media_fbid": "2"}],
        "state": Kind.REEL,
    }
    await world.run(graph_api.write, "t.write", "9/feed", fields)
    assert world.request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert world.form() == {
        "message": "größer & 100 % #ok",
        "thumb_offset": "0",
        "published": "false",
        "scale": "0.5",
        "empty": "",
        "attached_media": '[{"media_fbid":"1"},{"media_fbid":"2"}]',
        "state": "reel",
    }


def sign(message: str) -> str:
    return hmac.new(SECRET.encode(), message.encode(), hashlib.sha256).hexdigest()


async def test_calls_are_signed_with_the_time() -> None:
    seconds = str(int(NOW.timestamp()))
    for kind, token in TOKENS.items():
        wanted = {"appsecret_proof": sign(f"{token}|{seconds}"), "appsecret_time": seconds}
        world = World()
        await world.run(graph_api.write, "t.write", "9", {"a": "b"}, token=kind)
        assert world.form() == {"a": "b"} | wanted
        world = World()
        await world.run(graph_api.read, "t.read", "9", {"a": "b"}, token=kind)
        assert dict(world.request.url.params) == {"a": "b"} | wanted


async def test_the_plain_signature_and_none() -> None:
    world = World(meta_appsecret_proof="plain")
    await world.run(graph_api.write, "t.write", "9", {})
    assert world.form() == {"appsecret_proof": sign(TOKENS["access_token"])}
    unsigned: list[dict[str, Any]] = [
        {"meta_appsecret_proof": "off"},
        {"meta_app_secret": None},
        # Undocumented there, and the Meta app's secret is not that of the Instagram app.
        {"platform": "instagram", "login": "instagram"},
    ]
    for options in unsigned:
        world = World(**options)
        await world.run(graph_api.write, "t.write", "9", {"a": "b"})
        assert world.form() == {"a": "b"}


@pytest.mark.parametrize(
    "path", ["1/../2", "1?access_token=x", "/1", "1/", "", "1#x", "1 2", "1\\2", "@evil.example", "ü"]
)
async def test_an_id_never_becomes_another_address(path: str) -> None:
    world = World()
    found = await world.refused(graph_api.read, "t.read", path)
    assert found.code is ErrorCode.PLATFORM_ANSWER_INVALID
    assert world.requests == []


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_a_file_is_streamed_between_the_fields() -> None:
    for content in (b"0123456789", pieces(b"01234", b"56789")):
        world = World(meta_appsecret_proof="off")
        part = FilePart("video_file_chunk", 'a"\r\n.mp4', "application/octet-stream", 10, content)
        await world.run(
            graph_api.send_file,
            "t.file",
            f"{PAGE}/videos",
            {"start_offset": "0"},
            part,
            host=Host.VIDEO,
            timeout_seconds=5,
        )
        request = world.request
        assert request.headers["content-length"] == str(len(request.content))
        kind, boundary = request.headers["content-type"].split("; boundary=")
        assert kind == "multipart/form-data"
        assert (
            request.content
            == (
                f'--{boundary}\r\nContent-Disposition: form-data; name="start_offset"\r\n\r\n0\r\n'
                f'--{boundary}\r\nContent-Disposition: form-data; name="video_file_chunk"; filename="a%22%0D%0A.mp4"\r\n'
                f"Content-Type: application/octet-stream\r\n\r\n0123456789\r\n--{boundary}--\r\n"
            ).encode()
        )


async def test_a_file_of_another_length_is_never_sent_to_its_end() -> None:
    for content, code in ((pieces(b"012"), ErrorCode.MEDIA_TRUNCATED), (pieces(b"0" * 99), ErrorCode.MEDIA_CHANGED)):
        world = World()
        part = FilePart("source", "a.jpg", "image/jpeg", 10, content)
        found = await world.refused(graph_api.send_file, "t.file", "9/photos", {}, part, timeout_seconds=5)
        assert found.code is code


# Uploads -------------------------------------------------------------------------------------------------------------------


async def test_an_upload_puts_everything_into_headers() -> None:
    world = World(httpx.Response(200, json={"success": True}))
    await world.run(
        graph_api.rupload,
        "t.up",
        UPLOAD,
        offset=4,
        size_bytes=9,
        content=pieces(b"01", b"234"),
        length=5,
        timeout_seconds=5,
    )
    request = world.request
    assert str(request.url) == UPLOAD
    assert {key: request.headers[key] for key in ("authorization", "offset", "file_size", "content-length")} == {
        "authorization": f"OAuth {TOKENS['access_token']}",
        "offset": "4",
        "file_size": "9",
        "content-length": "5",
    }
    assert request.content == b"01234"


async def test_an_upload_from_an_address() -> None:
    world = World(httpx.Response(200, json={"success": True, "message": "ok"}), platform="instagram")
    address = "https://files.example.com/a.mp4?signature=planted"
    await world.run(graph_api.rupload_from, "t.up", UPLOAD, address, timeout_seconds=5, token="user_token")
    assert world.request.headers["file_url"] == address
    assert world.request.headers["authorization"] == f"OAuth {TOKENS['user_token']}"
    assert world.request.content == b""
    for bad in ("https://files.example.com/ü.mp4", "https://files.example.com/a b", "https://a/\r\noffset: 0"):
        found = await world.refused(graph_api.rupload_from, "t.up", UPLOAD, bad, timeout_seconds=5)
        assert found.code is ErrorCode.MEDIA_URL_INVALID
        assert bad not in str(found)


@pytest.mark.parametrize("body", [{}, {"success": False}, {"success": "true"}, {"success": 1}])
async def test_an_upload_without_a_word_of_success_is_none(body: dict[str, Any]) -> None:
    world = World(httpx.Response(200, json=body))
    found = await world.refused(
        graph_api.rupload, "t.up", UPLOAD, offset=0, size_bytes=1, content=b"0", length=1, timeout_seconds=5
    )
    assert (found.code, found.http_status) == (ErrorCode.PLATFORM_ANSWER_INVALID, 200)


@pytest.mark.parametrize(
    "value",
    [
        "http://rupload.facebook.com/video-upload/v25.0/77",
        "https://rupload.facebook.com.evil.example/77",
        "https://evil.example/rupload.facebook.com",
        "https://rupload.facebook.com:8443/77",
        "https://rupload.facebook.com@evil.example/77",
        "https://user:word@rupload.facebook.com/77",
        "https://rupload.facebook.com\\@evil.example/77",
        "https://rupload.facebook.com/7 7",
        "https://rupload.facebook.com:port/77",
        "https://[rupload.facebook.com/77",
        "//rupload.facebook.com/77",
        "https://rupload.facebook.com/\n77",
        "https://rupload.facebook.com/" + "7" * 5_000,
        "",
        None,
        77,
    ],
)
async def test_a_token_goes_to_no_other_host(value: object) -> None:
    world = World(httpx.Response(200, json={"success": True}))

    async def take(ctx: StepContext) -> str:
        return graph_api.upload_address(ctx, value)

    found = await world.refused(take)
    assert found.code is ErrorCode.PLATFORM_ANSWER_INVALID
    if isinstance(value, str):
        found = await world.refused(graph_api.rupload_from, "t.up", value, "https://a.example/b", timeout_seconds=5)
        assert found.code is ErrorCode.PLATFORM_ANSWER_INVALID
    assert world.requests == []


async def test_the_upload_host_is_a_setting() -> None:
    world = World(meta_upload_url="http://127.0.0.1:9000")

    async def take(ctx: StepContext) -> str:
        return graph_api.upload_address(ctx, "http://127.0.0.1:9000/ig-api-upload/v25.0/5")

    assert await world.run(take) == "http://127.0.0.1:9000/ig-api-upload/v25.0/5"


# Answers -------------------------------------------------------------------------------------------------------------------


async def test_an_error_is_one_at_any_status() -> None:
    for status in (200, 400, 403, 500):
        world = World(httpx.Response(status, json=error(190, 460)))
        found = await world.refused(graph_api.write, "facebook.feed", "9/feed", {})
        assert (found.code, found.http_status) == (ErrorCode.META_SESSION_ENDED, status)
        assert found.detail == f"facebook.feed: HTTP {status}, 190/460"
        assert "planted" not in str(found)
    world = World(httpx.Response(200, json={"debug_info": {"type": "OffsetInvalidError", "retriable": False}}))
    found = await world.refused(
        graph_api.rupload, "t.up", UPLOAD, offset=0, size_bytes=1, content=b"0", length=1, timeout_seconds=5
    )
    assert found.code is ErrorCode.META_UPLOAD_OFFSET_WRONG


async def test_what_is_no_object_is_no_answer() -> None:
    for response in (httpx.Response(200, content=b"<html>"), httpx.Response(200, json=[1]), httpx.Response(200)):
        found = await World(response).refused(graph_api.write, "t.write", "9", {})
        assert (found.code, found.http_status) == (ErrorCode.PLATFORM_ANSWER_INVALID, 200)
    assert await World(httpx.Response(200, json=True)).run(graph_api.write, "t.w", "9", {}) == {"success": True}
    found = await World(httpx.Response(502, content=b"<html>")).refused(graph_api.read, "t.r", "9")
    assert found.code is ErrorCode.PLATFORM_UNAVAILABLE
    found = await World(httpx.Response(302, headers={"location": "https://evil.example"})).refused(
        graph_api.read, "t.r", "9"
    )
    assert found.code is ErrorCode.PLATFORM_ERROR_UNMAPPED


@pytest.mark.parametrize(
    ("platform", "login", "writes", "right"),
    [
        ("facebook", "facebook", True, "pages_manage_posts"),
        ("facebook", "facebook", False, "pages_read_engagement"),
        ("instagram", "facebook", True, "instagram_content_publish"),
        ("instagram", "instagram", True, "instagram_business_content_publish"),
        ("instagram", "instagram", False, "instagram_business_basic"),
    ],
)
async def test_a_lost_permission_is_named_with_its_account(platform: str, login: str, writes: bool, right: str) -> None:
    world = World(httpx.Response(400, json=error(200)), platform=platform, login=login)

    async def call(ctx: StepContext) -> Any:
        if writes:
            return await graph_api.write(ctx, "t.call", "9", {})
        return await graph_api.read(ctx, "t.call", "9")

    found = await world.refused(call)
    assert found.code is ErrorCode.META_PERMISSION_MISSING
    assert found.detail == f"t.call: HTTP 400, 200; {right} for Corner Shop"


async def test_the_trace_id_is_logged_bounded_and_the_text_is_not() -> None:
    with structlog.testing.capture_logs() as logs:
        world = World(httpx.Response(400, json=error(190, 460, fbtrace_id="T" * 500)))
        await world.refused(graph_api.write, "t.write", "9", {})
    refused = next(each for each in logs if each["event"] == "graph.refused")
    assert refused["trace_id"] == "T" * 64
    assert (refused["platform_code"], refused["platform_subcode"]) == ("190", "460")
    assert "planted" not in str(logs)


async def test_the_other_token_is_asked_with_where_a_good_one_is_refused() -> None:
    """Container and media reads fail at times with 100/33 or 10 although page token and object are fine."""
    for code, subcode in ((100, 33), (10, None)):
        world = World(
            httpx.Response(400, json=error(code, subcode)), httpx.Response(200, json={"id": "9"}), platform="instagram"
        )
        assert await world.run(graph_api.read_either, "t.read", "9", {"fields": "id"}) == {"id": "9"}
        assert [each.headers["authorization"] for each in world.requests] == [
            f"Bearer {TOKENS['user_token']}",
            f"Bearer {TOKENS['access_token']}",
        ]
    world = World(httpx.Response(400, json=error(100, 33)), httpx.Response(400, json=error(10)), platform="instagram")
    found = await world.refused(graph_api.read_either, "t.read", "9")
    assert (found.code, len(world.requests)) == (ErrorCode.META_OBJECT_UNREADABLE, 2)
    world = World(httpx.Response(400, json=error(190, 460)))
    await world.refused(graph_api.read_either, "t.read", "9")
    assert len(world.requests) == 1


async def test_the_persons_token_that_is_over_does_not_speak_for_the_account() -> None:
    """A user token lives for 60 days, a page token has no end: what the page's was told stays the answer, and no account is lost."""
    for code in (190, 102):
        world = World(httpx.Response(400, json=error(100, 33)), httpx.Response(400, json=error(code, 463)))
        found = await world.refused(graph_api.read_either, "t.read", "9", tokens=("access_token", "user_token"))
        assert (found.code, len(world.requests)) == (ErrorCode.META_OBJECT_UNREADABLE, 2)


# Lists ---------------------------------------------------------------------------------------------------------------------


def page(ids: Sequence[int], after: object = None, *, more: bool = True) -> httpx.Response:
    paging: dict[str, Any] = {"cursors": {"after": after}} if after is not None else {}
    if more:
        # As Meta does it: the address carries the token, and here leads away as well.
        paging["next"] = "https://evil.example/v25.0/9?access_token=planted"
    return httpx.Response(200, json={"data": [{"id": str(each)} for each in ids], "paging": paging})


async def listed(world: World, **options: Any) -> list[str]:
    limits = {"pages_max": 10, "rows_max": 100} | options
    rows = await world.run(graph_api.pages, "t.list", "9/posts", {"limit": 2}, **limits)
    return [each["id"] for each in rows]


async def test_a_list_is_read_by_cursor_and_no_address_of_an_answer_is_followed() -> None:
    world = World(page([1, 2], "c1"), page([3, 4], "c2"), page([5], "c3", more=False))
    assert await listed(world) == ["1", "2", "3", "4", "5"]
    assert [each.url.params.get("after") for each in world.requests] == [None, "c1", "c2"]
    assert {each.url.host for each in world.requests} == {"graph.facebook.com"}
    assert {each.url.params["limit"] for each in world.requests} == {"2"}


async def test_a_list_ends() -> None:
    # A cursor that comes again, one that is missing or odd, and bounds of pages and rows.
    assert await listed(World(page([1], "same"))) == ["1", "1"]
    for odd in (None, "", 7, ["x"]):
        assert await listed(World(page([1], odd))) == ["1"]
    world = World(*(page([n], f"c{n}") for n in range(50)))
    assert len(await listed(world, pages_max=3)) == 3
    world = World(*(page([n, n], f"c{n}") for n in range(50)))
    assert await listed(world, rows_max=3) == ["0", "0", "1"]
    assert len(world.requests) == 2


async def test_a_list_that_breaks_off_is_not_taken_for_whole() -> None:
    world = World(page([1], "c1"), httpx.Response(400, json=error(4)))
    with pytest.raises(Failure) as caught:
        await listed(world)
    assert caught.value.code is ErrorCode.META_APP_THROTTLED
    with pytest.raises(Failure) as caught:
        await listed(World(httpx.Response(200, json={"data": {}})))
    assert caught.value.code is ErrorCode.PLATFORM_ANSWER_INVALID


# Limits --------------------------------------------------------------------------------------------------------------------


def said(headers: Mapping[str, str], account: str = PAGE) -> list[tuple[Scope, float, float | None]]:
    return [(each.scope, each.percent, each.regain_seconds) for each in usages(headers, account)]


# As recorded by several projects, and in Meta's "Rate Limits".
APP = '{"call_count":28,"total_time":25,"total_cputime":26}'
APP_OF_INSTAGRAM = '{"call_volume":31,"cpu_time":3}'
BUSINESS = (
    '{"1784":[{"type":"pages","call_count":9,"total_cputime":1,"total_time":12,"estimated_time_to_regain_access":0},'
    '{"type":"messenger","call_count":61,"total_cputime":1,"total_time":1,"estimated_time_to_regain_access":0}],'
    '"999":[{"type":"pages","call_count":100,"total_cputime":25,"total_time":25,"estimated_time_to_regain_access":19}]}'
)


def test_the_headers_as_they_come() -> None:
    assert said({}) == []
    assert said({"x-app-usage": APP}) == [(Scope.APP, 28.0, None)]
    assert said({"x-app-usage": APP_OF_INSTAGRAM}) == [(Scope.APP, 31.0, None)]
    assert said({"x-page-usage": APP}) == [(Scope.ACCOUNT, 28.0, None)]
    # All entries of the own id; those of another page are not ours.
    assert said({"x-business-use-case-usage": BUSINESS}) == [(Scope.ACCOUNT, 61.0, None)]
    assert said({"x-business-use-case-usage": BUSINESS}, "999") == [(Scope.ACCOUNT, 100.0, 19 * 60.0)]
    # A limit kept under an id that is not the account's is still that of its calls.
    assert said({"x-business-use-case-usage": BUSINESS}, IG) == [(Scope.ACCOUNT, 100.0, 19 * 60.0)]
    assert said({"x-app-usage": APP, "x-page-usage": APP_OF_INSTAGRAM, "x-business-use-case-usage": BUSINESS}) == [
        (Scope.APP, 28.0, None),
        (Scope.ACCOUNT, 61.0, None),
    ]
    assert said({"x-ad-account-usage": '{"acc_id_util_pct":99.67}'}) == []
    assert {each.code for each in usages({"x-app-usage": APP, "x-page-usage": APP}, PAGE)} == {
        "meta_app_throttled",
        "meta_account_throttled",
    }


def test_time_to_regain_access_means_that_it_is_lost() -> None:
    header = '{"1784":[{"type":"pages","call_count":97,"estimated_time_to_regain_access":5}]}'
    assert said({"x-business-use-case-usage": header}) == [(Scope.ACCOUNT, 100.0, 300.0)]


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        ('{"call_count":NaN}', None),
        ('{"call_count":Infinity}', None),
        ('{"call_count":NaN,"total_time":7}', 7.0),
        ('{"call_count":-5}', 0.0),
        ('{"call_count":1e300}', 1000.0),
        ('{"call_count":1' + "0" * 400 + "}", None),
        ('{"call_count":"28"}', 28.0),
        ('{"call_count":"NaN"}', None),
        ('{"call_count":true}', None),
        ('{"call_count":[28]}', None),
        ('{"something_new":99}', None),
        ("{}", None),
        ("[]", None),
        ("null", None),
        ("call_count=28", None),
        ("", None),
        ("[" * 50_000, None),
        ('{"call_count":1' + " " * 70_000 + "}", None),
    ],
)
def test_numbers_that_make_no_sense_say_nothing(text: str, percent: float | None) -> None:
    found = said({"x-app-usage": text})
    assert found == ([] if percent is None else [(Scope.APP, percent, None)])
    inner = f'{{"1784":[{text or "null"}],"5":{text or "null"}}}'
    assert [each[1] for each in said({"x-business-use-case-usage": inner})] == ([] if percent is None else [percent])


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([PAGE, "call_count", "total_time", "estimated_time_to_regain_access", "x"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=15,
    )
)
def test_any_header_is_survived(value: object) -> None:
    text = json.dumps(value)
    headers = {"x-app-usage": text, "x-page-usage": text, "x-business-use-case-usage": text}
    for each in usages(headers, PAGE):
        assert 0.0 <= each.percent <= 1000.0
        assert each.regain_seconds is None or 0.0 < each.regain_seconds <= 86_400.0


async def test_every_answer_reports_what_it_says_about_limits() -> None:
    for response in (
        httpx.Response(200, json={"id": "9"}, headers={"X-App-Usage": APP}),
        httpx.Response(400, json=error(100, 33), headers={"X-App-Usage": APP}),
        httpx.Response(502, content=b"<html>", headers={"X-App-Usage": APP}),
    ):
        world = World(response)
        if response.status_code == 200:
            await world.run(graph_api.read, "t.read", "9")
        else:
            await world.refused(graph_api.read, "t.read", "9")
        assert [(each.scope, each.percent) for each in world.seen] == [(Scope.APP, 28.0)]


async def test_a_throttled_call_waits_as_long_as_the_header_says() -> None:
    world = World(httpx.Response(400, json=error(80001), headers={"X-Business-Use-Case-Usage": BUSINESS}))
    found = await world.refused(graph_api.read, "t.read", "9")
    assert (found.code, found.retry_after_seconds) == (ErrorCode.META_ACCOUNT_THROTTLED, None)
    lost = BUSINESS.replace('"999"', '"1784x"').replace('"1784"', '"888"').replace('"1784x"', '"1784"')
    world = World(httpx.Response(400, json=error(80001), headers={"X-Business-Use-Case-Usage": lost}))
    found = await world.refused(graph_api.read, "t.read", "9")
    assert found.retry_after_seconds == 19 * 60


# The version ---------------------------------------------------------------------------------------------------------------


def test_the_default_version_is_one_we_know() -> None:
    assert Settings(**BASE).meta_api_version in VERSION_ENDS
    for bad in ("25.0", "v25", "v25.0/../x", "latest", "v25.0\n"):
        with pytest.raises(ValidationError):
            Settings(**(BASE | {"meta_api_version": bad}))
    with pytest.raises(ValidationError):
        Settings(**(BASE | {"meta_appsecret_proof": "sometimes"}))


@pytest.mark.parametrize(
    ("version", "today", "level"),
    [
        ("v25.0", date(2026, 11, 23), "ok"),
        ("v25.0", date(2028, 7, 29) - timedelta(days=VERSION_DAYS_MIN + 1), "ok"),
        ("v25.0", date(2028, 7, 29) - timedelta(days=VERSION_DAYS_MIN), "warn"),
        ("v25.0", date(2028, 7, 28), "warn"),
        ("v25.0", date(2028, 7, 29), "fail"),
        ("v21.0", date(2026, 11, 23), "warn"),
        ("v20.0", date(2026, 11, 23), "fail"),
        ("v19.0", date(2026, 11, 23), "fail"),
        ("v26.0", date(2040, 1, 1), "ok"),
        ("v27.0", date(2040, 1, 1), "ok"),
        ("v100.0", date(2040, 1, 1), "ok"),
    ],
)
def test_check_warns_before_the_version_ends(version: str, today: date, level: str) -> None:
    found = graph_version(version, today)
    assert found.level == level
    assert version in found.text
    if level != "ok":
        assert "ORBYT_META_API_VERSION" in found.text
        assert "v26.0" in found.text
