"""Files in the project's own Storage (`storage://bucket/path`), through the real client (supabase-py).

The client signs addresses, uploads and removes; it never downloads, because it would hold the whole file in memory. Bytes are
read from a signed address like any other file, in ranges, through the guarded client. Addresses and the key are secrets:
what goes wrong is told in numbers, never in the words of the client's exceptions, which quote addresses and answers.

Sources: PyPI supabase 2.34.1 and storage3 2.34.1 (which requests are made); supabase/storage, src/internal/errors (what is
answered), src/http/routes/object (signed addresses), src/storage/limits.ts (`%` is in no name). Read 2026-11.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, unquote

import httpx

from orbyt_worker.errors.catalog import classify
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.client import MediaAnswer, MediaClient
from orbyt_worker.media.guard import URL_CHARACTERS_MAX
from orbyt_worker.media.remote import RemoteSource
from orbyt_worker.media.source import Interrupted, SourceInfo
from orbyt_worker.runtime import Runtime, tls_context

if TYPE_CHECKING:
    # Half a second of importing that a worker without Storage does not need.
    from storage3 import AsyncStorageClient

SCHEME = "storage://"
# How long an address lives that we read from ourselves: each request gets a new one.
READ_URL_SECONDS = 600
CALL_SECONDS_MAX = 30.0
CONNECT_SECONDS_MAX = 10.0
CONNECTIONS_MAX = 16
REMOVE_PATHS_MAX = 100
_REFUSAL_BYTES_MAX = 4_096

# The same in SQL: orbyt_private.check_media_url and storage_problems.
_URL = re.compile(r"storage://([A-Za-z0-9_.-]+)/([^?#\s]+)")
# Statuses in the body of a refusal that say nothing about the object.
_MAY_PASS = frozenset({408, 409, 423, 429})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ERROR_NAME = re.compile(r"[A-Za-z_ ]{1,40}")


@dataclass(frozen=True, slots=True)
class StorageRef:
    """One object: the bucket's id and the object's name as stored (not percent-encoded)."""

    bucket: str
    path: str


def parse(url: str) -> StorageRef | None:
    """The object a storage:// address means, or None for any other address. Pure. Raises Failure(media_url_invalid).

    The path is percent-decoded, so that names with spaces can be said. Names that a client could read as another one
    (empty, `.` and `..` parts) are refused: who may read an object is decided by its exact name, in SQL.
    """
    if not url.startswith(SCHEME):
        return None
    found = _URL.fullmatch(url)
    if found is None or len(url) > URL_CHARACTERS_MAX:
        raise Failure(ErrorCode.MEDIA_URL_INVALID, "storage:// is followed by a bucket and a path")
    try:
        path = unquote(found[2], errors="strict")
    except UnicodeDecodeError:
        raise Failure(ErrorCode.MEDIA_URL_INVALID, "the path is not UTF-8") from None
    if _CONTROL.search(path) or any(part in {"", ".", ".."} for part in path.split("/")):
        raise Failure(ErrorCode.MEDIA_URL_INVALID, "not the path of an object in Storage")
    return StorageRef(found[1], path)


class Storage:
    """One client per process, made on first use. Raises Failure or Interrupted, both with storage_… or media_… codes."""

    def __init__(self, runtime: Runtime, *, url: str, secret_key: str, sandbox: bool = False) -> None:
        self._runtime = runtime
        self._url = url.rstrip("/")
        self._secret_key = secret_key
        self._sandbox = sandbox
        self._making = asyncio.Lock()
        self._http: httpx.AsyncClient | None = None
        self._client: AsyncStorageClient | None = None

    async def close(self) -> None:
        """Close the connections. The client does not close the HTTP client it was given."""
        if self._http is not None:
            await self._http.aclose()
            self._http = self._client = None

    async def signed_url(self, bucket: str, path: str, seconds: int) -> str:
        """An address that reads this one object for so long, without any header. A secret. Missing: media_not_found."""
        async with self._call("storage.sign", missing=ErrorCode.MEDIA_NOT_FOUND) as client:
            answer = await client.from_(bucket).create_signed_url(quote(path, safe="/"), seconds)
            return cast("str", answer["signedURL"])

    async def upload(self, bucket: str, path: str, data: bytes, content_type: str) -> None:
        """Store an object, replacing what is there under this name. Safe to repeat."""
        async with self._call("storage.upload", missing=ErrorCode.STORAGE_BUCKET_UNUSABLE) as client:
            await client.from_(bucket).upload(
                quote(path, safe="/"), data, {"content-type": content_type, "cache-control": "3600", "upsert": "true"}
            )

    async def remove(self, bucket: str, paths: Sequence[str]) -> None:
        """Remove objects; those that are gone already are no error. Safe to repeat."""
        for start in range(0, len(paths), REMOVE_PATHS_MAX):
            async with self._call("storage.remove", missing=ErrorCode.STORAGE_BUCKET_UNUSABLE) as client:
                await client.from_(bucket).remove(list(paths[start : start + REMOVE_PATHS_MAX]))

    @asynccontextmanager
    async def _call(self, name: str, *, missing: ErrorCode) -> AsyncIterator[AsyncStorageClient]:
        """One request: what the client raises becomes ours, with nothing of its text. `missing` is what a 404 means."""
        from storage3.exceptions import StorageApiError

        client = await self._opened()
        self._runtime.checkpoint("http.before", name)
        try:
            yield client
        except StorageApiError as refused:
            raise _refused(refused.status, refused.code, missing) from None
        except httpx.TimeoutException:
            raise Interrupted(ErrorCode.STORAGE_UNAVAILABLE, "Storage did not answer in time") from None
        except httpx.HTTPError as broken:
            raise Interrupted(
                ErrorCode.STORAGE_UNAVAILABLE, f"no answer from Storage ({type(broken).__name__})"
            ) from None
        except (ValueError, KeyError, TypeError) as odd:
            # An answer that is no JSON, or lacks what the client looks for.
            raise Interrupted(
                ErrorCode.STORAGE_UNAVAILABLE, f"an answer of Storage cannot be read ({type(odd).__name__})"
            ) from None
        self._runtime.checkpoint("http.after", name)

    async def _opened(self) -> AsyncStorageClient:
        async with self._making:
            if self._client is None:
                from supabase import AsyncClientOptions, acreate_client

                self._http = httpx.AsyncClient(
                    timeout=httpx.Timeout(CALL_SECONDS_MAX, connect=CONNECT_SECONDS_MAX),
                    limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
                    # The key goes with every request: to this host, and to none that it may name.
                    follow_redirects=False,
                    verify=tls_context(trust_env=not self._sandbox),
                    trust_env=not self._sandbox,
                )
                options = AsyncClientOptions(httpx_client=self._http, auto_refresh_token=False, persist_session=False)
                self._client = (await acreate_client(self._url, self._secret_key, options)).storage
            return self._client


def _refused(status: int | str, name: str, missing: ErrorCode) -> Exception:
    """What an error of the Storage API means. `name` is its `error` field, a constant of the service."""
    number = int(status) if str(status).isdigit() else 0
    code = classify("storage", http_status=number, reason=name)
    if code is ErrorCode.MEDIA_NOT_FOUND:
        code = missing
    elif code is ErrorCode.PLATFORM_ERROR_UNMAPPED:
        code = ErrorCode.STORAGE_UNAVAILABLE
    detail = f"Storage answered {number}" + (f" ({name})" if _ERROR_NAME.fullmatch(name) else "")
    if code is ErrorCode.STORAGE_UNAVAILABLE:
        return Interrupted(code, detail, http_status=number)
    return Failure(code, detail, http_status=number)


class StorageSource(RemoteSource):
    """MediaSource over one object: a fresh signed address for each request."""

    def __init__(self, client: MediaClient, storage: Storage, ref: StorageRef, *, host: str, bytes_max: int) -> None:
        self._storage = storage
        self.ref = ref
        named = f"{ref.bucket}/{ref.path}".encode()
        super().__init__(
            client,
            lambda: self.signed_url(READ_URL_SECONDS),
            key=f"storage/{hashlib.sha256(named).hexdigest()}",
            bytes_max=bytes_max,
            name="media.storage.get",
            redirect_allowed=lambda other: other == host,
        )

    async def signed_url(self, seconds: int) -> str:
        """An address of the object for somebody else. A secret. Raises Failure or Interrupted."""
        return await self._storage.signed_url(self.ref.bucket, self.ref.path, seconds)

    async def describe(self) -> SourceInfo:
        try:
            return await super().describe()
        except Failure as failure:
            if failure.code is ErrorCode.MEDIA_CHANGED:  # 416 to the very first bytes: there are none
                raise Failure(ErrorCode.MEDIA_EMPTY, "the file has 0 bytes") from None
            raise

    async def refuse(self, answer: MediaAnswer) -> None:
        """Storage says 400 for nearly everything; what it means is `statusCode` in the body."""
        if answer.status == 400:
            status = _status_in(await answer.body(_REFUSAL_BYTES_MAX))
            if status == 416:
                raise Failure(ErrorCode.MEDIA_CHANGED, "the object is shorter than it was", http_status=416)
            if status == 404:
                raise Failure(ErrorCode.MEDIA_NOT_FOUND, "Storage has no such object", http_status=404)
            if status in _MAY_PASS or status >= 500:
                raise Interrupted(ErrorCode.STORAGE_UNAVAILABLE, f"Storage answered {status}", http_status=status)
        await super().refuse(answer)


def _status_in(body: bytes) -> int:
    try:
        return int(json.loads(body)["statusCode"])
    except (ValueError, KeyError, TypeError):
        return 0
