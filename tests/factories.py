"""Rows for tests, made the way they come to be in real life: users by Auth, accounts by connecting, jobs by the app."""

from __future__ import annotations

import uuid
from typing import Any
from uuid import UUID

from psycopg import sql
from psycopg.types.json import Jsonb

from tests.fix_postgres import Database

VIDEO = {"type": "video", "url": "https://example.com/video.mp4"}


async def create_user(db: Database, user_id: UUID | None = None) -> UUID:
    """A signed-up user (a row of auth.users)."""
    user_id = user_id or uuid.uuid4()
    await db.execute(
        "insert into auth.users (id, email, aud, role, created_at) values (%s, %s, 'authenticated', 'authenticated', now())",
        [user_id, f"{user_id.hex[:12]}@example.com"],
    )
    return user_id


async def create_account(db: Database, user_id: UUID, platform: str = "youtube", **columns: Any) -> UUID:
    """A connected account; further columns of orbyt.accounts as keywords (status, error_code, scopes …). Has no token."""
    account_id = columns.pop("account_id", None) or uuid.uuid4()
    values = {
        "account_id": account_id,
        "user_id": user_id,
        "platform": platform,
        "platform_account_id": f"{platform}-{account_id.hex[:12]}",
        "name": f"Test {platform}",
        **columns,
    }
    await db.execute(_insert("accounts", values), values)
    return account_id


async def insert_job(db: Database, user_id: UUID, account_id: UUID, **columns: Any) -> UUID:
    """One post, inserted by the app as its signed-in user; a public video by default. Returns job_id.

    Content columns as keywords (kind, title, caption, media, options, publish_at, expires_at, client_ref, post_id, job_id).
    Refusals arrive as psycopg errors, as the app would see them.
    """
    values: dict[str, Any] = {
        "account_id": account_id,
        "kind": "video",
        "title": "A title",
        "caption": "A caption",
        "media": [VIDEO],
        **columns,
    }
    for name in ("media", "options"):
        if name in values:
            values[name] = Jsonb(values[name])
    async with db.as_user(user_id) as app:
        row = await (await app.execute(_insert("publish_jobs", values, returning="job_id"), values)).fetchone()
    assert row is not None
    job_id: UUID = row["job_id"]
    return job_id


async def create_owner(db: Database, platform: str = "youtube", **columns: Any) -> tuple[UUID, UUID]:
    """A user with one connected account: (user_id, account_id)."""
    user_id = await create_user(db)
    return user_id, await create_account(db, user_id, platform, **columns)


def _insert(table: str, values: dict[str, Any], *, returning: str | None = None) -> sql.Composed:
    statement = sql.SQL("insert into orbyt.{} ({}) values ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(map(sql.Placeholder, values)),
    )
    return statement if returning is None else statement + sql.SQL(" returning {}").format(sql.Identifier(returning))
