"""The Storage API of a Supabase project: buckets, objects, signed addresses, as the Python client (storage3) calls it.

As strict as the service: most errors are HTTP 400 with the real status in `statusCode`; a key that may not do something mostly
sees nothing (row level security), the gateway refuses an unknown one with 401 and a body of its own; a signed address holds for
one object and a time; Range is honoured, If-Range is not (it is not handed on to the store behind).

After supabase/storage (src/http/routes/object, src/internal/errors, src/storage/{object,limits}.ts, renderer.ts) and PyPI
storage3 2.34.1. Read 2026-11.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from orbyt_worker.sandbox import media_files
from orbyt_worker.sandbox.media_files import Body
from orbyt_worker.sandbox.media_host import Behaviour, HostedFile, serve
from orbyt_worker.sandbox.operations import operation
from orbyt_worker.sandbox.wire import JSON_BYTES_MAX, Refusal, read_body, route

if TYPE_CHECKING:
    from orbyt_worker.sandbox.state import Sandbox

PREFIX = "/supabase/storage/v1"
SECRET_KEY = "sb_secret_sandbox0123456789ABCDEFGHIJ"  # noqa: S105 - the simulator's own
PUBLISHABLE_KEY = "sb_publishable_sandbox0123456789AB"
_SIGNING_SECRET = "the sandbox signs its storage addresses with this"  # noqa: S105 - the simulator's own
UPLOAD_BYTES_MAX = 50 * 1024 * 1024
REMOVE_OBJECTS_MAX = 1_000
OBJECTS_MAX = 10_000

# limits.ts: what S3 takes without trouble. `%` is not among them.
_KEY = re.compile(r"[\w/!\-.*'() &$@=;:+,?]+", re.ASCII)


@dataclass(slots=True)
class Bucket:
    """A row of storage.buckets."""

    bucket_id: str
    public: bool
    file_size_limit: int | None
    allowed_mime_types: list[str] | None
    created_at: datetime


@dataclass(slots=True)
class StoredObject:
    """A row of storage.objects with its bytes."""

    object_id: str
    bucket_id: str
    name: str
    created_at: datetime
    updated_at: datetime
    hosted: HostedFile = field(repr=False)


@dataclass(frozen=True, slots=True)
class ObjectReport:
    """What is known about a stored object. `url` is what a media item says."""

    bucket: str
    path: str
    url: str
    size_bytes: int
    content_type: str
    sha256: str


def storage_envelope(status: int, reason: str | None, message: str | None) -> dict[str, Any]:
    """Error body for `status` faults."""
    return {
        "statusCode": str(status),
        "error": reason or "internal",
        "message": message or "Injected by the sandbox",
    }


def _refusal(status: int, error: str, message: str, code: str | None = None) -> Refusal:
    """The service's own errors: HTTP 400 for all but 500."""
    body = {"statusCode": str(status), "error": error, "message": message, **({"code": code} if code else {})}
    return Refusal(JSONResponse(body, status_code=500 if status == 500 else 400))


def _no_object() -> Refusal:
    return _refusal(404, "not_found", "Object not found", "NoSuchKey")


class Storage:
    """State and API. Thread-safe: one lock, never held across an await."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._lock = threading.RLock()
        self._buckets: dict[str, Bucket] = {}
        self._objects: dict[tuple[str, str], StoredObject] = {}
        self._key_accepted = True
        self.reset()

    def settings_env(self, base_url: str) -> dict[str, str]:
        """The worker's settings that point at this simulator."""
        return {"ORBYT_SUPABASE_URL": f"{base_url}/supabase", "ORBYT_SUPABASE_SECRET_KEY": SECRET_KEY}

    def reset(self) -> None:
        """Back to three buckets: the worker's own (as the migrations make it), `media` (private), `public-media`."""
        with self._lock:
            self._objects.clear()
            self._buckets.clear()
            self._key_accepted = True
            self.create_bucket("orbyt-media", file_size_limit=10 * 1024 * 1024, allowed_mime_types=["image/jpeg"])
            self.create_bucket("media")
            self.create_bucket("public-media", public=True)

    def routes(self) -> list[BaseRoute]:
        def made(method: str, path: str, name: str, handler: Any, *, head: bool = False) -> BaseRoute:
            return route(self._sandbox, method, PREFIX + path, f"storage.{name}", handler, head=head)

        return [
            made("GET", "/bucket", "buckets", self._list_buckets),
            made("GET", "/bucket/{bucket}", "bucket", self._get_bucket),
            made("POST", "/object/sign/{bucket}/{path:path}", "sign", self._sign),
            made("GET", "/object/sign/{bucket}/{path:path}", "signed", self._signed, head=True),
            made("GET", "/object/public/{bucket}/{path:path}", "public", self._public, head=True),
            made("GET", "/object/info/{bucket}/{path:path}", "info", self._info),
            made("POST", "/object/list/{bucket}", "list", self._list),
            made("GET", "/object/authenticated/{bucket}/{path:path}", "download", self._download, head=True),
            made("GET", "/object/{bucket}/{path:path}", "download", self._download, head=True),
            made("POST", "/object/{bucket}/{path:path}", "upload", self._upload),
            made("PUT", "/object/{bucket}/{path:path}", "update", self._upload),
            made("DELETE", "/object/{bucket}", "remove", self._remove),
        ]

    # --- the control side -------------------------------------------------------------------------------------------

    @operation()
    def create_bucket(
        self,
        bucket: str,
        *,
        public: bool = False,
        file_size_limit: int | None = None,
        allowed_mime_types: list[str] | None = None,
    ) -> Bucket:
        """A bucket, replacing the settings of one of that name."""
        with self._lock:
            made = Bucket(bucket, public, file_size_limit, allowed_mime_types, self._sandbox.clock.now())
            self._buckets[bucket] = made
            return made

    @operation()
    def delete_bucket(self, bucket: str) -> None:
        """The bucket and all in it are gone."""
        with self._lock:
            del self._buckets[bucket]
            self._objects = {key: each for key, each in self._objects.items() if key[0] != bucket}

    @operation()
    def put_object(
        self,
        path: str,
        *,
        bucket: str = "media",
        content: Literal["video", "jpeg", "png", "html", "empty"] = "video",
        size_bytes: int | None = None,
        seconds: float = 2.0,
        width: int = 320,
        height: int = 180,
        audio: bool = True,
        seed: int = 0,
        behaviour: Behaviour | None = None,
    ) -> ObjectReport:
        """Store an object as if somebody had uploaded it: a video of this shape (padded to `size_bytes`), a picture, or another content."""
        if content == "video":
            body = media_files.video_body(
                size_bytes=size_bytes, seconds=seconds, width=width, height=height, audio=audio, seed=seed
            )
        elif content in ("jpeg", "png"):
            data = media_files.jpeg(width, height) if content == "jpeg" else media_files.png(width, height)
            body = media_files.literal(data, f"image/{content}")
        else:
            body = media_files.literal(media_files.HTML_PAGE if content == "html" else b"", f"text/{content}")
        return self.put_body(path, body, bucket=bucket, behaviour=behaviour)

    def put_body(
        self, path: str, body: Body, *, bucket: str = "media", behaviour: Behaviour | None = None
    ) -> ObjectReport:
        """Store any body; in Python only."""
        with self._lock:
            return _report(self._store(bucket, path, body, behaviour))

    @operation()
    def delete_object(self, path: str, *, bucket: str = "media") -> None:
        """The object is gone."""
        with self._lock:
            del self._objects[bucket, path]

    @operation(reads=True)
    def list_objects(self, bucket: str | None = None) -> list[ObjectReport]:
        """What is stored, by bucket and path."""
        with self._lock:
            return [_report(each) for key, each in sorted(self._objects.items()) if bucket in {None, key[0]}]

    @operation(reads=True)
    def read_object(self, path: str, *, bucket: str = "media") -> ObjectReport | None:
        """One object; None when there is none."""
        with self._lock:
            found = self._objects.get((bucket, path))
            return None if found is None else _report(found)

    def object_bytes(self, path: str, *, bucket: str = "media") -> bytes:
        """Its bytes; in Python only."""
        with self._lock:
            body = self._objects[bucket, path].hosted.body
        return body.read(0, body.size)

    @operation(reads=True)
    def downloads(self, path: str, *, bucket: str = "media") -> int:
        """How often the object was asked for."""
        with self._lock:
            return self._objects[bucket, path].hosted.requests

    @operation()
    def configure(self, *, key_accepted: bool | None = None) -> bool:
        """`key_accepted` False: the secret key was deleted in the dashboard. Returns how it is now."""
        with self._lock:
            if key_accepted is not None:
                self._key_accepted = key_accepted
            return self._key_accepted

    @operation(reads=True)
    def sign(self, path: str, *, bucket: str = "media", seconds: float = 3600.0) -> str:
        """A signed address of an object, whether it exists or not; `seconds` may be negative."""
        address = f"{self._sandbox.base_url}{PREFIX}/object/sign/{bucket}/{quote(path)}"
        return f"{address}?token={self._token(bucket, path, seconds)}"

    # --- state (with the lock held) -----------------------------------------------------------------------------------

    def _store(self, bucket: str, path: str, body: Body, behaviour: Behaviour | None = None) -> StoredObject:
        if bucket not in self._buckets:
            raise ValueError(f"there is no bucket {bucket}")
        now = self._sandbox.clock.now()
        known = self._objects.get((bucket, path))
        if known is None and len(self._objects) >= OBJECTS_MAX:
            raise ValueError(f"more than {OBJECTS_MAX} objects")
        hosted = HostedFile(path, body, behaviour or Behaviour())
        if known is not None:
            hosted.version, hosted.requests = known.hosted.version + 1, known.hosted.requests
            known.hosted, known.updated_at = hosted, now
            return known
        made = StoredObject(str(uuid.uuid4()), bucket, path, now, now, hosted)
        self._objects[bucket, path] = made
        return made

    def _token(self, bucket: str, path: str, seconds: float) -> str:
        now = int(self._sandbox.clock.timestamp())
        claims = {"url": f"{bucket}/{path}", "iat": now, "exp": now + int(seconds)}
        return jwt.encode(claims, _SIGNING_SECRET, algorithm="HS256")

    # --- who asks -------------------------------------------------------------------------------------------------------

    def _is_service(self, request: Request) -> bool:
        """Whether the secret key was sent; False for the publishable one. The gateway refuses everything else by itself."""
        key = request.headers.get("apikey", "")
        if not key:
            raise Refusal(JSONResponse({"message": "No API key found in request"}, status_code=401))
        known = {PUBLISHABLE_KEY, *({SECRET_KEY} if self._key_accepted else ())}
        if key not in known or request.headers.get("authorization") != f"Bearer {key}":
            raise Refusal(
                JSONResponse({"message": "Invalid API key", "hint": "Double check your API key."}, status_code=401)
            )
        return key == SECRET_KEY

    def _names(self, request: Request) -> tuple[str, str]:
        bucket, path = request.path_params["bucket"], request.path_params.get("path", "")
        if path and not _KEY.fullmatch(path):
            raise _refusal(400, "InvalidKey", f"Invalid key: {path}", "InvalidKey")
        return bucket, path

    # --- buckets --------------------------------------------------------------------------------------------------------

    async def _list_buckets(self, request: Request) -> Response:
        with self._lock:
            shown = [_bucket_object(each) for each in self._buckets.values()] if self._is_service(request) else []
        return JSONResponse(shown)

    async def _get_bucket(self, request: Request) -> Response:
        with self._lock:
            found = self._buckets.get(request.path_params["bucket"]) if self._is_service(request) else None
            if found is None:
                raise _refusal(404, "Bucket not found", "Bucket not found", "NoSuchBucket")
            return JSONResponse(_bucket_object(found))

    # --- objects --------------------------------------------------------------------------------------------------------

    async def _sign(self, request: Request) -> Response:
        document = await _json_of(request)
        seconds = document.get("expiresIn")
        if not re.fullmatch(r"[1-9]\d{0,9}", str(seconds)):
            raise _refusal(400, "Error", "body/expiresIn must be >= 1")
        with self._lock:
            service = self._is_service(request)
            bucket, path = self._names(request)
            if not service or (bucket, path) not in self._objects:
                raise _no_object()
            token = self._token(bucket, path, float(str(seconds)))
        # As it was asked for, without the prefix of the gateway: the client puts its own before it.
        asked = request.scope["raw_path"].decode("ascii").removeprefix(PREFIX)
        return JSONResponse({"signedURL": f"{asked}?token={token}"})

    async def _signed(self, request: Request) -> Response:
        bucket, path = self._names(request)
        token = request.query_params.get("token")
        if token is None:
            raise _refusal(400, "Error", "querystring must have required property 'token'")
        try:
            claims = jwt.decode(
                token, _SIGNING_SECRET, algorithms=["HS256"], options={"verify_exp": False, "verify_iat": False}
            )
        except jwt.PyJWTError:
            raise _refusal(400, "InvalidJWT", "signature verification failed", "InvalidJWT") from None
        if claims["exp"] <= self._sandbox.clock.timestamp():
            raise _refusal(400, "InvalidJWT", '"exp" claim timestamp check failed', "InvalidJWT")
        if claims["url"] != f"{bucket}/{path}":
            raise _refusal(400, "InvalidSignature", "Invalid signature", "InvalidSignature")
        return self._serve(request, bucket, path)

    async def _public(self, request: Request) -> Response:
        bucket, path = self._names(request)
        with self._lock:
            found = self._buckets.get(bucket)
        if found is None or not found.public:
            raise _refusal(404, "Bucket not found", "Bucket not found", "NoSuchBucket")
        return self._serve(request, bucket, path)

    async def _download(self, request: Request) -> Response:
        bucket, path = self._names(request)
        if not self._is_service(request):
            raise _no_object()
        return self._serve(request, bucket, path)

    def _serve(self, request: Request, bucket: str, path: str) -> Response:
        with self._lock:
            found = self._objects.get((bucket, path))
            if found is None:
                raise _no_object()
            hosted = found.hosted
        answer = serve(self._sandbox, request, hosted, conditional=False)
        if answer.status_code == 416:
            raise _refusal(416, "InvalidRange", "The requested range is not satisfiable", "S3Error")
        return answer

    async def _info(self, request: Request) -> Response:
        with self._lock:
            service = self._is_service(request)
            found = self._objects.get(self._names(request)) if service else None
            if found is None:
                raise _no_object()
            return JSONResponse(_info_object(found))

    async def _list(self, request: Request) -> Response:
        document = await _json_of(request)
        prefix = str(document.get("prefix") or "").rstrip("/")
        below = f"{prefix}/" if prefix else ""
        with self._lock:
            service, bucket = self._is_service(request), request.path_params["bucket"]
            names = sorted(name for (each, name) in self._objects if each == bucket and name.startswith(below))
            rows: dict[str, dict[str, Any]] = {}
            for name in names if service else []:
                first, _, rest = name.removeprefix(below).partition("/")
                rows[first] = (
                    {"name": first, "id": None, "updated_at": None, "created_at": None, "metadata": None}
                    if rest
                    else {**_row_object(self._objects[bucket, name]), "name": first}
                )
        offset, limit = int(document.get("offset") or 0), int(document.get("limit") or 100)
        return JSONResponse(list(rows.values())[offset : offset + limit])

    async def _upload(self, request: Request) -> Response:
        data = await read_body(request, UPLOAD_BYTES_MAX + JSON_BYTES_MAX)
        if data is None or len(data) > UPLOAD_BYTES_MAX + 4096:
            raise _refusal(413, "Payload too large", "The object exceeded the maximum allowed size", "EntityTooLarge")
        content, content_type = _file_of(request.headers.get("content-type", ""), data)
        upsert = request.headers.get("x-upsert") == "true"
        with self._lock:
            service = self._is_service(request)
            bucket, path = self._names(request)
            settings = self._buckets.get(bucket)
            if settings is None:
                raise _refusal(404, "Bucket not found", "Bucket not found", "NoSuchBucket")
            if not service:
                raise _refusal(403, "Unauthorized", "new row violates row-level security policy", "AccessDenied")
            exists = (bucket, path) in self._objects
            if request.method == "PUT" and not exists:
                raise _no_object()
            if request.method == "POST" and exists and not upsert:
                raise _refusal(409, "Duplicate", "The resource already exists", "KeyAlreadyExists")
            bare_type = content_type.split(";")[0].strip()
            if settings.allowed_mime_types is not None and bare_type not in settings.allowed_mime_types:
                raise _refusal(415, "invalid_mime_type", f"mime type {bare_type} is not supported", "InvalidMimeType")
            if settings.file_size_limit is not None and len(content) > settings.file_size_limit:
                raise _refusal(
                    413, "Payload too large", "The object exceeded the maximum allowed size", "EntityTooLarge"
                )
            stored = self._store(bucket, path, media_files.literal(content, content_type))
        return JSONResponse({"Id": stored.object_id, "Key": f"{bucket}/{path}"})

    async def _remove(self, request: Request) -> Response:
        document = await _json_of(request)
        names = document.get("prefixes")
        if not isinstance(names, list) or not names or not all(isinstance(each, str) for each in names):
            raise _refusal(400, "Error", "body/prefixes must NOT have fewer than 1 items")
        if len(names) > REMOVE_OBJECTS_MAX:
            raise _refusal(400, "InvalidRequest", f"at most {REMOVE_OBJECTS_MAX} objects at a time", "InvalidRequest")
        with self._lock:
            service, bucket = self._is_service(request), request.path_params["bucket"]
            keys = [(bucket, name) for name in names if service and (bucket, name) in self._objects]
            removed = [_row_object(self._objects.pop(key)) for key in dict.fromkeys(keys)]
        return JSONResponse(removed)


async def _json_of(request: Request) -> dict[str, Any]:
    body = await read_body(request, JSON_BYTES_MAX)
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise Refusal(
            JSONResponse(
                {"statusCode": "415", "error": "FastifyError", "message": "Unsupported Media Type"}, status_code=415
            )
        )
    try:
        document = json.loads(body or b"")
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise _refusal(400, "Error", "body must be object")
    return document


def _file_of(content_type: str, data: bytes) -> tuple[bytes, str]:
    """The bytes and their type: of the part `file` in a form, else of the body itself."""
    if not content_type.startswith("multipart/form-data"):
        return data, content_type or "application/octet-stream"
    boundary = re.search(r'boundary="?([^";]+)"?', content_type)
    for part in data.split(b"\r\n--" + boundary[1].encode("latin-1")) if boundary else ():
        head, _, content = part.partition(b"\r\n\r\n")
        if b'filename="' in head:
            named = re.search(rb"(?i)\r\ncontent-type: *([^\r\n]+)", head)
            return content, named[1].decode("latin-1") if named else "application/octet-stream"
    raise _refusal(400, "InvalidRequest", "No content provided", "InvalidRequest")


def _bucket_object(bucket: Bucket) -> dict[str, Any]:
    return {
        "id": bucket.bucket_id,
        "name": bucket.bucket_id,
        "owner": "",
        "public": bucket.public,
        "created_at": bucket.created_at.isoformat(),
        "updated_at": bucket.created_at.isoformat(),
        "file_size_limit": bucket.file_size_limit,
        "allowed_mime_types": bucket.allowed_mime_types,
    }


def _row_object(stored: StoredObject) -> dict[str, Any]:
    body = stored.hosted.body
    return {
        "name": stored.name,
        "bucket_id": stored.bucket_id,
        "id": stored.object_id,
        "updated_at": stored.updated_at.isoformat(),
        "created_at": stored.created_at.isoformat(),
        "last_accessed_at": stored.updated_at.isoformat(),
        "metadata": {
            "eTag": f'"{body.etag(stored.hosted.version)}"',
            "size": body.size,
            "mimetype": body.content_type,
            "cacheControl": "max-age=3600",
            "contentLength": body.size,
            "httpStatusCode": 200,
        },
    }


def _info_object(stored: StoredObject) -> dict[str, Any]:
    body = stored.hosted.body
    return {
        "id": stored.object_id,
        "name": stored.name,
        "version": str(stored.hosted.version),
        "bucket_id": stored.bucket_id,
        "size": body.size,
        "content_type": body.content_type,
        "cache_control": "max-age=3600",
        "etag": f'"{body.etag(stored.hosted.version)}"',
        "metadata": {},
        "last_modified": stored.updated_at.isoformat(),
        "created_at": stored.created_at.isoformat(),
    }


def _report(stored: StoredObject) -> ObjectReport:
    body = stored.hosted.body
    url = f"storage://{stored.bucket_id}/{quote(stored.name)}"
    return ObjectReport(stored.bucket_id, stored.name, url, body.size, body.content_type, body.sha256())
