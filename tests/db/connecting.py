"""The ways of a login as the database sees them: the app begins, a door calls back, a worker exchanges, the app chooses."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from psycopg.types.json import Jsonb

from tests.factories import create_user
from tests.fix_postgres import Database

RETURN_TO = "studiox://connected"
OTHER_RETURN_TO = "https://app.example.com/done?from=orbyt"
REDIRECT_URI = "https://door.example.com/functions/v1/connect-callback"
CALLBACK_KEY = "callback-1"

# The login of each app with what it may differ in: PKCE, scopes or a configuration, what joins the scopes.
APPS: tuple[tuple[str, dict[str, list[str]], dict[str, str], bool, str], ...] = (
    ("google", {"youtube": ["https://scope/upload", "https://scope/read"]}, {"access_type": "offline"}, True, " "),
    (
        "facebook",
        {"facebook": ["pages_show_list", "pages_manage_posts"], "instagram": ["instagram_basic"]},
        {"display": "a b&c=ü/%"},
        False,
        ",",
    ),
    ("instagram", {"instagram": ["instagram_business_basic"]}, {}, False, ","),
)


async def set_up(db: Database, *, logins: Sequence[str] = ("google", "facebook", "instagram")) -> None:
    """What a worker writes when it starts."""
    for login, scopes, parameters, pkce, separator in APPS:
        if login in logins:
            await db.execute(
                "select orbyt_private.set_connect_app(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    *(login, sorted(scopes), f"client of {login}", REDIRECT_URI, f"https://{login}.example.com/auth"),
                    *(Jsonb(scopes), Jsonb(parameters), pkce, separator),
                ],
            )
    await db.execute("select orbyt_private.set_connect_return_to(%s)", [Jsonb([RETURN_TO, OTHER_RETURN_TO])])
    await db.execute(
        "select orbyt_private.add_callback_key(%s, '{\"kty\": \"RSA\"}', gen_random_uuid(), '\\x01', 'k1')",
        [CALLBACK_KEY],
    )


async def create_worker(db: Database, *, lease_seconds: float = 60) -> UUID:
    worker_id = uuid.uuid4()
    await db.execute("select orbyt_private.register_worker(%s, 'test', '0', '{}', %s)", [worker_id, lease_seconds])
    return worker_id


@dataclass(frozen=True)
class Begun:
    """What the app was given, and the state that travels through the browser."""

    session_id: UUID
    authorize_url: str

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.authorize_url).query).items()}

    @property
    def state_hash(self) -> str:
        return hashlib.sha256(self.query["state"].encode()).hexdigest()


async def begin(
    db: Database,
    user_id: UUID,
    platform: str = "youtube",
    *,
    login: str | None = None,
    account_id: UUID | None = None,
    return_to: str | None = RETURN_TO,
) -> Begun:
    async with db.as_user(user_id) as app:
        row = await (
            await app.execute(
                "select orbyt.begin_connect(platform => %s, return_to => %s, login => %s, account_id => %s) as begun",
                [platform, return_to, login, account_id],
            )
        ).fetchone()
    assert row is not None
    return Begun(UUID(row["begun"]["session_id"]), row["begun"]["authorize_url"])


async def come_back(
    db: Database, state_hash: str, *, code: str | None = "a code", error: str | None = None, key_id: str = CALLBACK_KEY
) -> dict[str, Any]:
    """What a door says to the database, as the role it has. The code would be sealed; here it is only base64."""
    sealed = None if code is None or error is not None else base64.b64encode(code.encode()).decode()
    async with db.as_service_role() as door:
        row = await (
            await door.execute(
                "select orbyt.connect_callback(state_hash => %s, sealed_code => %s, key_id => %s, error => %s) as answer",
                [state_hash, sealed, key_id if sealed else None, error],
            )
        ).fetchone()
    assert row is not None
    answer: dict[str, Any] = row["answer"]
    return answer


async def claim(db: Database, worker_id: UUID, limit: int = 10) -> list[dict[str, Any]]:
    return await db.fetch("select * from orbyt_private.claim_connects(%s, %s)", [worker_id, limit])


def secret(
    kind: str = "access_token", value: str = "sealed", expires_in_seconds: float | None = None, key_id: str = "k1"
) -> dict[str, Any]:
    sealed = base64.b64encode(value.encode()).decode()
    return {"kind": kind, "sealed": sealed, "key_id": key_id, "expires_in_seconds": expires_in_seconds}


def candidate(platform_account_id: str, **fields: Any) -> dict[str, Any]:
    return {"platform_account_id": platform_account_id, "name": f"Name of {platform_account_id}", **fields}


def grant(platform_account_id: str, account_id: UUID | None = None, **fields: Any) -> dict[str, Any]:
    return {
        "platform_account_id": platform_account_id,
        "account_id": str(account_id or uuid.uuid4()),
        "login": "google",
        "platform_user_id": "person-1",
        "scopes": ["upload"],
        "secrets": [secret(), secret("refresh_token", "lasting")],
        "name": f"Name of {platform_account_id}",
        "handle": f"@{platform_account_id}",
        "picture_url": f"https://pictures.example.com/{platform_account_id}.jpg",
        **fields,
    }


async def offer(
    db: Database,
    claimed: dict[str, Any],
    candidates: Sequence[dict[str, Any]],
    grants: Sequence[dict[str, Any]],
    *,
    complete: bool = True,
    auto: Sequence[str] | None = None,
) -> str:
    return str(
        await db.value(
            "select orbyt_private.offer_candidates(%s, %s, %s, %s, %s, %s)",
            [
                *(claimed["session_id"], claimed["attempt"], Jsonb(list(candidates)), complete, Jsonb(list(grants))),
                list(auto) if auto is not None else None,
            ],
        )
    )


async def finish(db: Database, user_id: UUID, session_id: UUID, chosen: Sequence[str] | None) -> list[dict[str, Any]]:
    async with db.as_user(user_id) as app:
        rows: list[dict[str, Any]] = await (
            await app.execute(
                "select * from orbyt.finish_connect(session_id => %s, account_ids => %s)",
                [session_id, list(chosen) if chosen is not None else None],
            )
        ).fetchall()
    return rows


async def session(db: Database, session_id: UUID) -> dict[str, Any]:
    return await db.row("select * from orbyt.connect_sessions where session_id = %s", [session_id])


async def exchanged(db: Database, user_id: UUID, platform: str = "youtube", **options: Any) -> dict[str, Any]:
    """A session whose code a worker has in hand."""
    begun = await begin(db, user_id, platform, **options)
    await come_back(db, begun.state_hash)
    taken = await claim(db, await create_worker(db))
    (claimed,) = [each for each in taken if each["session_id"] == begun.session_id]
    return claimed


async def connected(
    db: Database,
    user_id: UUID | None = None,
    platform: str = "youtube",
    platform_account_id: str = "channel-1",
    **fields: Any,
) -> tuple[UUID, UUID]:
    """A user's account, connected the way it is in real life: (user_id, account_id)."""
    user_id = user_id or await create_user(db)
    claimed = await exchanged(db, user_id, platform)
    account_id = fields.pop("account_id", None) or claimed["known"].get(platform_account_id)
    granted = grant(platform_account_id, account_id, **fields)
    await offer(db, claimed, [candidate(platform_account_id)], [granted], auto=[platform_account_id])
    row = await session(db, claimed["session_id"])
    assert row["status"] == "connected", row["error_code"]
    return user_id, row["account_ids"][0]
