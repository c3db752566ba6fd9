"""Files at public https URLs, read in ranges, and never two versions mixed.

Everything a file server can do wrong is expected here: a page instead of a file, a compressed answer, no ranges, a 200
where a 206 was asked for, a length that lies, a body that stops, a file replaced between two requests.

Source for the HTTP rules: RFC 9110 sections 8.8 (validators), 13.1.5 (If-Range), 14 (range requests), 15.3.7 (206).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.client import REDIRECTS_MAX, MediaAnswer, MediaClient, status_failure
from orbyt_worker.media.sniff import refuse_other_than_media
from orbyt_worker.media.source import Interrupted, SourceInfo

HEAD_BYTES = 4_096
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_UNSATISFIED_RANGE = re.compile(r"bytes \*/(\d{1,18})")


class RemoteSource:
    """MediaSource over one URL.

    `address()` gives the URL to ask, anew for each request, because a signed one may expire between two of them. `key` names
    the file for sharing. `redirect_allowed(host)` narrows where redirects may lead.
    """

    def __init__(
        self,
        client: MediaClient,
        address: Callable[[], str | Awaitable[str]],
        *,
        key: str,
        bytes_max: int,
        name: str = "media.get",
        redirects_max: int = REDIRECTS_MAX,
        redirect_allowed: Callable[[str], bool] | None = None,
    ) -> None:
        self._client = client
        self._address = address
        self._key = key
        self._bytes_max = bytes_max
        self._name = name
        self._redirects_max = redirects_max
        self._redirect_allowed = redirect_allowed

    @property
    def key(self) -> str:
        return self._key

    async def address(self) -> str:
        """Where the file is, for a request made now. May be a secret (a signature in the query)."""
        made = self._address()
        return made if isinstance(made, str) else await made

    async def describe(self) -> SourceInfo:
        """Ask for the first 4 KiB: one request tells size, version, whether ranges work, and what the file begins with.

        A HEAD would be cheaper for the server, but it is refused by signed storage links, says nothing reliable about
        ranges, and is answered wrongly by more servers than a ranged GET. Raises Failure(media_…) or Interrupted.
        """
        async with self._get({"range": f"bytes=0-{HEAD_BYTES - 1}"}) as answer:
            if answer.status == 416:
                raise self._unsatisfied(answer)
            await self.refuse(answer)
            ranged = answer.status == 206
            size = self._ranged_size(answer) if ranged else _length(answer)
            if size == 0:
                raise Failure(ErrorCode.MEDIA_EMPTY, "the file has 0 bytes")
            if size is not None and size > self._bytes_max:
                raise Failure(ErrorCode.MEDIA_TOO_LARGE, f"{size} bytes, at most {self._bytes_max} are relayed")
            head = await answer.body(HEAD_BYTES)
            if not head:
                raise Failure(ErrorCode.MEDIA_EMPTY, "the file has 0 bytes")
            content_type = answer.headers.get("content-type", "").split(";")[0].strip().lower()
            refuse_other_than_media(head, content_type)
            return SourceInfo(
                size_bytes=size,
                content_type=content_type,
                etag=answer.headers.get("etag") or None,
                last_modified=answer.headers.get("last-modified") or None,
                # A 206 that hides the total cannot be followed to its end: treated as a server without ranges.
                ranges=ranged and size is not None,
                head=head,
            )

    async def open(self, info: SourceInfo, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """Bytes [start, end) in one request; see MediaSource.open. A 200 is skipped forward when it is the same version."""
        end = info.size_bytes if end is None else end
        headers = {}
        if info.ranges and (start > 0 or end != info.size_bytes):
            headers["range"] = f"bytes={start}-" if end is None else f"bytes={start}-{end - 1}"
            if info.etag is not None and not info.etag.startswith("W/"):
                headers["if-range"] = info.etag  # a weak one may not be used here (RFC 9110 13.1.5)
        async with self._get(headers) as answer:
            if answer.status == 416:
                raise Failure(ErrorCode.MEDIA_CHANGED, "the file is shorter than it was")
            await self.refuse(answer)
            self._same_version(answer, info)
            if answer.status == 206:
                self._exact_range(answer, info, start, end)
                skip = 0
            else:
                skip = start
                if start > 0 and info.version is None:
                    raise Interrupted(
                        ErrorCode.MEDIA_SOURCE_UNAVAILABLE, f"{answer.host} cannot continue a broken transfer"
                    )
            async with aclosing(_window(answer, skip, None if end is None else end - start, self._bytes_max)) as pieces:
                async for piece in pieces:
                    yield piece

    @asynccontextmanager
    async def _get(self, headers: dict[str, str]) -> AsyncIterator[MediaAnswer]:
        async with self._client.request(
            self._name,
            "GET",
            await self.address(),
            headers=headers,
            redirects_max=self._redirects_max,
            redirect_allowed=self._redirect_allowed,
        ) as answer:
            yield answer

    async def refuse(self, answer: MediaAnswer) -> None:
        """Raise for anything but an uncompressed 200 or 206. A source whose host says more than a status says it here."""
        failure = status_failure(answer)
        if failure is not None:
            raise failure
        if answer.status not in {200, 206}:
            raise Interrupted(
                ErrorCode.MEDIA_SOURCE_UNAVAILABLE, f"{answer.host} answered {answer.status}", http_status=answer.status
            )
        _refuse_compressed(answer)

    def _unsatisfied(self, answer: MediaAnswer) -> Exception:
        """416 to the very first bytes: an empty file says so (RFC 9110 15.5.17), anything else is an odd server."""
        found = _UNSATISFIED_RANGE.fullmatch(answer.headers.get("content-range", ""))
        if found and int(found[1]) == 0:
            return Failure(ErrorCode.MEDIA_EMPTY, "the file has 0 bytes")
        return Interrupted(ErrorCode.MEDIA_SOURCE_UNAVAILABLE, f"{answer.host} answered 416", http_status=416)

    def _ranged_size(self, answer: MediaAnswer) -> int | None:
        found = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        if found is None or int(found[1]) != 0:
            raise Interrupted(
                ErrorCode.MEDIA_SOURCE_UNAVAILABLE, f"{answer.host} sent a 206 without a usable Content-Range"
            )
        return None if found[3] == "*" else int(found[3])

    def _exact_range(self, answer: MediaAnswer, info: SourceInfo, start: int, end: int | None) -> None:
        found = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        if found is None:
            raise Interrupted(
                ErrorCode.MEDIA_SOURCE_UNAVAILABLE, f"{answer.host} sent a 206 without a usable Content-Range"
            )
        if found[3] != "*" and info.size_bytes is not None and int(found[3]) != info.size_bytes:
            raise Failure(ErrorCode.MEDIA_CHANGED, f"the file has {found[3]} bytes now, it had {info.size_bytes}")
        if int(found[1]) != start or (end is not None and int(found[2]) != end - 1):
            raise Interrupted(
                ErrorCode.MEDIA_SOURCE_UNAVAILABLE, f"{answer.host} sent another range than the one asked for"
            )

    def _same_version(self, answer: MediaAnswer, info: SourceInfo) -> None:
        """Compare what both answers say. A validator that is missing now proves nothing, another value proves a change."""
        etag = answer.headers.get("etag")
        if info.etag is not None and etag is not None:
            if _opaque(etag) != _opaque(info.etag):
                raise Failure(ErrorCode.MEDIA_CHANGED, "the ETag of the file changed")
        elif info.last_modified is not None and answer.headers.get("last-modified") not in {None, info.last_modified}:
            raise Failure(ErrorCode.MEDIA_CHANGED, "the file was modified")
        if answer.status == 200 and info.size_bytes is not None:
            length = _length(answer)
            if length is not None and length != info.size_bytes:
                raise Failure(ErrorCode.MEDIA_CHANGED, f"the file has {length} bytes now, it had {info.size_bytes}")


async def read_document(client: MediaClient, url: str, bytes_max: int) -> bytes:
    """All of a small file that is no media (captions). Raises Failure(media_…) or Interrupted."""
    async with client.request("media.document", "GET", url) as answer:
        failure = status_failure(answer)
        if failure is not None:
            raise failure
        if answer.status != 200:
            raise Interrupted(
                ErrorCode.MEDIA_SOURCE_UNAVAILABLE, f"{answer.host} answered {answer.status}", http_status=answer.status
            )
        _refuse_compressed(answer)
        body = await answer.body(bytes_max + 1)
    if len(body) > bytes_max:
        raise Failure(ErrorCode.MEDIA_TOO_LARGE, f"more than {bytes_max} bytes")
    if not body:
        raise Failure(ErrorCode.MEDIA_EMPTY, "the file has 0 bytes")
    return body


def _refuse_compressed(answer: MediaAnswer) -> None:
    if answer.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise Failure(ErrorCode.MEDIA_NOT_MEDIA, f"{answer.host} compresses the answer although asked not to")


async def _window(answer: MediaAnswer, skip: int, length: int | None, bytes_max: int) -> AsyncGenerator[bytes, None]:
    """Drop `skip` bytes, give the next `length` (None: all that come, at most bytes_max)."""
    given = 0
    async with aclosing(answer.pieces()) as pieces:
        async for piece in pieces:
            if skip >= len(piece):
                skip -= len(piece)
                continue
            wanted = piece[skip:] if skip else piece
            skip = 0
            if length is not None:
                wanted = wanted[: length - given]
            given += len(wanted)
            if length is None and given > bytes_max:
                raise Failure(ErrorCode.MEDIA_TOO_LARGE, f"more than {bytes_max} bytes")
            if wanted:
                yield wanted
            if given == length:
                return


def _length(answer: MediaAnswer) -> int | None:
    text = answer.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def _opaque(etag: str) -> str:
    return etag.removeprefix("W/")


def url_key(url: str) -> str:
    """A name for a URL that reveals nothing of it; the query counts, because it may choose the file."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
