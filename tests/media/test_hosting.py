"""Pictures on their way to a platform: converted, handed over as bytes, or hosted for the platform to fetch."""

from __future__ import annotations

import asyncio
import io
import re
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import httpx
import pytest
from PIL import Image

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.images import SOURCE_BYTES_MAX
from orbyt_worker.media.relay import Hosted, MediaRelay
from orbyt_worker.model import ImageSpec, MediaItem, MediaSpec
from orbyt_worker.sandbox import media_files
from orbyt_worker.sandbox.media_host import Behaviour
from orbyt_worker.sandbox.server import SandboxServer
from orbyt_worker.sandbox.state import Sandbox
from orbyt_worker.sandbox.storage import SECRET_KEY
from tests.media.conftest import RelayFactory, Request, host, say

JPEG_ONLY = MediaSpec(images=ImageSpec(("JPEG",), 8_000_000, 1440, 1800, ratio_min=0.8, ratio_max=1.91))
AS_IT_IS = MediaSpec()
FOLDER = "5f0c2b7e-9f44-4b56-8f0b-6d3f2f8d7f10"


def relay_of(open_relay: RelayFactory, server: SandboxServer, **config: Any) -> AbstractAsyncContextManager[MediaRelay]:
    settings = {
        "supabase_url": f"{server.url}/supabase",
        "supabase_secret_key": SECRET_KEY,
        "environment": server.settings_env(),
        **config,
    }
    return open_relay(server.url, **settings)


class Job:
    """On whose behalf pictures are hosted; remembers what it was told, and what was stored at that moment."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.noted: list[str] = []
        self.stored_when_noted: list[int] = []
        self.redacted: list[str] = []

    async def note(self, path: str) -> None:
        self.noted.append(path)
        self.stored_when_noted.append(len(self._sandbox.storage.list_objects("orbyt-media")))

    @property
    def hosted(self) -> Hosted:
        return Hosted(FOLDER, self.note, self.redacted.append)


@pytest.fixture
def job(sandbox: Sandbox) -> Job:
    return Job(sandbox)


def image(url: str) -> MediaItem:
    return MediaItem("image", url)


async def code_of(relay: MediaRelay, item: MediaItem, job: Job, spec: MediaSpec = JPEG_ONLY) -> ErrorCode:
    with pytest.raises(Failure) as failed:
        await relay.address(item, spec=spec, hosted=job.hosted, name="0")
    return failed.value.code


# --- Bytes ------------------------------------------------------------------------------------------------------------


async def test_a_picture_is_read_in_the_form_asked_for_and_fetched_once(
    open_relay: RelayFactory, server: SandboxServer, sandbox: Sandbox
) -> None:
    sandbox.media.add("a.png", content="png", width=2000, height=1500)
    item = image(sandbox.media.url("a.png"))
    async with relay_of(open_relay, server) as relay:
        facts = await relay.facts(item, spec=JPEG_ONLY)
        assert (facts.content_type, facts.width, facts.height) == ("image/png", 2000, 1500)
        before = sandbox.requests.count(route="media")

        async def read(spec: MediaSpec) -> tuple[str, tuple[int, int]]:
            async with relay.open(item, spec=spec, expect=facts) as reader:
                data = b"".join([piece async for piece in reader.read(0, reader.size_bytes)])
                middle = b"".join([piece async for piece in reader.read(100, 50)])
                assert middle == data[100:150]
                assert reader.facts.size_bytes == reader.size_bytes == len(data)
                opened = Image.open(io.BytesIO(data))
                assert opened.size == (reader.facts.width, reader.facts.height)
                return reader.facts.content_type, opened.size

        small = MediaSpec(images=ImageSpec(("JPEG",), 100_000, 320, 320))
        found = await asyncio.gather(read(JPEG_ONLY), read(small), read(AS_IT_IS))
        assert list(found) == [("image/jpeg", (1440, 1080)), ("image/jpeg", (320, 240)), ("image/png", (2000, 1500))]
        transfers = sandbox.requests.list(route="media")[before:]
        assert len([each for each in transfers if each.range is None]) == 1


async def test_a_picture_that_is_fine_is_read_from_the_disk_as_it_is(
    open_relay: RelayFactory, server: SandboxServer, sandbox: Sandbox
) -> None:
    data = media_files.jpeg(1080, 1080)
    sandbox.media.add_body("a.jpg", media_files.literal(data, "image/jpeg"))
    item = image(sandbox.media.url("a.jpg"))
    async with relay_of(open_relay, server) as relay, AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(relay.open(item, spec=JPEG_ONLY)) for _ in range(5)]
        for reader in readers:
            assert b"".join([piece async for piece in reader.read(0, reader.size_bytes)]) == data
            assert (reader.facts.width, reader.facts.size_bytes) == (1080, len(data))


async def test_a_picture_from_storage_or_from_a_host_without_ranges(
    open_relay: RelayFactory, server: SandboxServer, sandbox: Sandbox
) -> None:
    put = sandbox.storage.put_object("a.png", content="png", width=640, height=480)
    sandbox.media.add("b.png", content="png", width=640, height=480, behaviour=Behaviour(ranges=False))
    sandbox.media.add(
        "c.png", content="png", width=640, height=480, behaviour=Behaviour(ranges=False, content_length="missing")
    )
    async with relay_of(open_relay, server) as relay:
        for url in (put.url, sandbox.media.url("b.png"), sandbox.media.url("c.png")):
            async with relay.open(image(url), spec=JPEG_ONLY) as reader:
                assert (reader.facts.content_type, reader.facts.width) == ("image/jpeg", 640)


async def test_what_is_refused_before_and_during_the_conversion(
    open_relay: RelayFactory, server: SandboxServer, sandbox: Sandbox, job: Job
) -> None:
    sandbox.media.add("wide.png", content="png", width=1600, height=400)
    huge = media_files.Body(
        media_files.Literal(media_files.jpeg(64, 64)), media_files.Pattern(SOURCE_BYTES_MAX), content_type="image/jpeg"
    )
    sandbox.media.add_body("huge.jpg", huge)
    async with relay_of(open_relay, server) as relay:
        with pytest.raises(Failure, match=r"1600x400 is 4.00:1, allowed 0.80:1 to 1.91:1") as failed:
            async with relay.open(image(sandbox.media.url("wide.png")), spec=JPEG_ONLY):
                pass
        assert failed.value.code is ErrorCode.MEDIA_RATIO_NOT_SUPPORTED
        assert await code_of(relay, image(sandbox.media.url("wide.png")), job) is ErrorCode.MEDIA_RATIO_NOT_SUPPORTED
        before = sandbox.requests.count(route="media")
        assert await code_of(relay, image(sandbox.media.url("huge.jpg")), job) is ErrorCode.MEDIA_TOO_LARGE
        assert sandbox.requests.count(route="media") == before + 1  # its size alone was enough
        good = image(sandbox.media.url("good.mp4"))
        assert await code_of(relay, good, job) is ErrorCode.MEDIA_TYPE_NOT_SUPPORTED
        facts = await relay.facts(image(sandbox.media.url("photo.jpg")), spec=JPEG_ONLY)
        sandbox.media.add("photo.jpg", content="jpeg", width=800, height=600)
        with pytest.raises(Failure) as changed:
            await relay.address(
                image(sandbox.media.url("photo.jpg")), spec=JPEG_ONLY, expect=facts, hosted=job.hosted, name="0"
            )
        assert changed.value.code is ErrorCode.MEDIA_CHANGED
    assert job.noted == []


# --- Addresses --------------------------------------------------------------------------------------------------------


async def test_a_converted_picture_is_noted_hosted_and_removed(
    open_relay: RelayFactory, server: SandboxServer, sandbox: Sandbox, job: Job
) -> None:
    sandbox.clock.freeze()
    sandbox.media.add("a.png", content="png", width=2000, height=1500)
    item = image(sandbox.media.url("a.png"))
    async with relay_of(open_relay, server, hosted_url_seconds=3_600) as relay:
        facts = await relay.facts(item, spec=JPEG_ONLY)
        address = await relay.address(item, spec=JPEG_ONLY, expect=facts, hosted=job.hosted, name="0")
        (path,) = job.noted
        assert re.fullmatch(rf"{FOLDER}/0-[0-9a-f]{{32}}\.jpg", path)
        assert job.stored_when_noted == [0]  # noted before anything was there to be forgotten
        assert job.redacted == [address]
        async with httpx.AsyncClient() as client:
            answer = await client.get(address)
            assert answer.headers["content-type"] == "image/jpeg"
            assert Image.open(io.BytesIO(answer.content)).size == (1440, 1080)
            sandbox.clock.advance(3_601)
            assert (await client.get(address)).status_code == 400

        # Again, as another attempt would: the same object, a fresh address.
        again = await relay.address(item, spec=JPEG_ONLY, expect=facts, hosted=job.hosted, name="0")
        assert again != address
        assert job.noted == [path, path]
        assert [each.path for each in sandbox.storage.list_objects("orbyt-media")] == [path]

        await relay.remove_hosted([path, "never/stored.jpg"])
        await relay.remove_hosted([path])
        await relay.remove_hosted([])
    assert sandbox.storage.list_objects("orbyt-media") == []


async def test_what_needs_no_conversion_stays_where_it_is(
    open_relay: RelayFactory, server: SandboxServer, sandbox: Sandbox, job: Job
) -> None:
    sandbox.media.add("föto.jpg", content="jpeg", width=1080, height=1080)
    put = sandbox.storage.put_object("a.jpg", content="jpeg", width=1080, height=1080)
    async with relay_of(open_relay, server) as relay:

        async def address(item: MediaItem, spec: MediaSpec = JPEG_ONLY) -> str:
            return await relay.address(item, spec=spec, hosted=job.hosted, name="0")

        public = await address(image(sandbox.media.url("föto.jpg")))
        assert public == sandbox.media.url("f%C3%B6to.jpg")
        signed = await address(image(put.url))
        assert signed.startswith(f"{server.url}/supabase/storage/v1/object/sign/media/a.jpg?token=")
        # Whatever it is, when the platform takes it as it is.
        assert await address(image(sandbox.media.url("photo.png")), AS_IT_IS) == sandbox.media.url("photo.png")
        assert job.redacted[:2] == [public, signed]
        async with httpx.AsyncClient() as client:
            for each in job.redacted:
                assert (await client.get(each)).status_code == 200
    assert job.noted == []
    assert sandbox.storage.list_objects("orbyt-media") == []


async def test_addresses_of_videos(open_relay: RelayFactory, server: SandboxServer, sandbox: Sandbox, job: Job) -> None:
    public = sandbox.mux.create_asset(size_bytes=300_000, height=1440, width=2560, renditions=("1080p", "1440p"))
    signed = sandbox.mux.create_asset(size_bytes=300_000, policy="signed")
    async with relay_of(open_relay, server) as relay:

        async def address(url: str, rendition: str = "highest") -> str:
            item = MediaItem("video", url)
            spec = MediaSpec(rendition=rendition, images=JPEG_ONLY.images)
            facts = await relay.facts(item, spec=spec)
            return await relay.address(item, spec=spec, expect=facts, hosted=job.hosted, name="0")

        assert await address(f"mux://{public.playback_id}", "1080p") == (
            f"{server.url}/mux-stream/{public.playback_id}/1080p.mp4"
        )
        tokened = await address(f"mux://{signed.playback_id}")
        assert tokened.startswith(f"{server.url}/mux-stream/{signed.playback_id}/highest.mp4?token=")
        assert await address(sandbox.media.url("good.mp4") + "?a=b|c") == sandbox.media.url("good.mp4") + "?a=b|c"
        async with httpx.AsyncClient() as client:
            sandbox.clock.advance(5 * 3_600)  # the platform may take its time
            assert (await client.get(tokened)).status_code == 200
    assert job.noted == []


# --- What goes wrong --------------------------------------------------------------------------------------------------


async def test_hosting_needs_storage_and_its_bucket(
    open_relay: RelayFactory, server: SandboxServer, sandbox: Sandbox, job: Job
) -> None:
    png = image(sandbox.media.url("photo.png"))
    async with open_relay(server.url) as relay:
        assert await code_of(relay, png, job) is ErrorCode.STORAGE_NOT_CONFIGURED
        with pytest.raises(Failure, match="storage_not_configured"):
            await relay.remove_hosted(["a"])
        # What needs no hosting needs no Storage.
        assert await relay.address(png, spec=AS_IT_IS, hosted=job.hosted, name="0") == png.url
    async with relay_of(open_relay, server, storage_bucket="not-made") as relay:
        assert await code_of(relay, png, job) is ErrorCode.STORAGE_BUCKET_UNUSABLE
    async with relay_of(open_relay, server) as relay:
        for settings in ({"file_size_limit": 1_000}, {"allowed_mime_types": ["image/png"]}):
            sandbox.storage.create_bucket("orbyt-media", **settings)
            assert await code_of(relay, png, job) is ErrorCode.STORAGE_BUCKET_UNUSABLE
        sandbox.storage.configure(key_accepted=False)
        assert await code_of(relay, png, job) is ErrorCode.STORAGE_CREDENTIALS_INVALID


@pytest.mark.parametrize("route", ["storage.upload", "storage.sign"])
async def test_a_lost_answer_is_tried_again_by_another_attempt(
    open_relay: RelayFactory, server: SandboxServer, sandbox: Sandbox, job: Job, route: str
) -> None:
    png = image(sandbox.media.url("photo.png"))
    async with relay_of(open_relay, server) as relay:
        sandbox.faults.add(route, "drop_after")
        assert await code_of(relay, png, job) is ErrorCode.STORAGE_UNAVAILABLE
        sandbox.faults.add(route, "status", status=503)
        assert await code_of(relay, png, job) is ErrorCode.STORAGE_UNAVAILABLE
        address = await relay.address(png, spec=JPEG_ONLY, hosted=job.hosted, name="0")
    assert len(set(job.noted)) == 1
    assert [each.path for each in sandbox.storage.list_objects("orbyt-media")] == [job.noted[0]]
    assert job.redacted == [address]


async def test_nothing_is_uploaded_that_could_not_be_noted(
    open_relay: RelayFactory, server: SandboxServer, sandbox: Sandbox
) -> None:
    async def stale(path: str) -> None:
        raise RuntimeError("another attempt has the job")

    async with relay_of(open_relay, server) as relay:
        with pytest.raises(RuntimeError):
            await relay.address(
                image(sandbox.media.url("photo.png")),
                spec=JPEG_ONLY,
                hosted=Hosted(FOLDER, stale, lambda address: None),
                name="0",
            )
    assert sandbox.requests.count(route="storage") == 0


# --- Documents --------------------------------------------------------------------------------------------------------

SRT = b"1\n00:00:00,000 --> 00:00:02,000\nHello\n"


async def test_a_small_text_file(open_relay: RelayFactory) -> None:
    hiccups = 1

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal hiccups
        if request.target == "/hiccup" and hiccups:
            hiccups -= 1
            say(writer, 503)
        elif request.target == "/missing":
            say(writer, 404)
        elif request.target == "/down":
            say(writer, 500)
        elif request.target == "/packed":
            say(writer, 200, SRT, content_encoding="gzip")
        else:
            say(writer, 200, b"" if request.target == "/empty" else SRT, content_type="text/plain")

    async with host(answer) as source, open_relay(source.url) as relay:
        assert await relay.document(source.url + "/a.srt", 1_000) == SRT
        assert await relay.document(source.url + "/hiccup", len(SRT)) == SRT
        for path, code in {
            "/missing": ErrorCode.MEDIA_NOT_FOUND,
            "/down": ErrorCode.MEDIA_SOURCE_UNAVAILABLE,
            "/packed": ErrorCode.MEDIA_NOT_MEDIA,
            "/empty": ErrorCode.MEDIA_EMPTY,
        }.items():
            with pytest.raises(Failure) as failed:
                await relay.document(source.url + path, 1_000)
            assert failed.value.code is code
        with pytest.raises(Failure) as failed:
            await relay.document(source.url + "/a.srt", len(SRT) - 1)
        assert failed.value.code is ErrorCode.MEDIA_TOO_LARGE
        for url, code in {
            "http://10.0.0.1/a.srt": ErrorCode.MEDIA_URL_FORBIDDEN,
            "storage://media/a.srt": ErrorCode.MEDIA_URL_INVALID,
            "file:///etc/passwd": ErrorCode.MEDIA_URL_INVALID,
        }.items():
            with pytest.raises(Failure) as failed:
                await relay.document(url, 1_000)
            assert failed.value.code is code
