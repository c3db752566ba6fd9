"""The real supabase-py on the Data API: a server of the app, or a script, that does what the app does."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from postgrest.exceptions import APIError

from supabase import AsyncClientOptions, acreate_client
from tests.clients.conftest import App


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        yield client


async def client_of(app: App, user_id: UUID, http: httpx.AsyncClient) -> Any:
    """Any: its answers are of no type."""
    options = AsyncClientOptions(
        schema="orbyt",
        headers={"Authorization": f"Bearer {app.lite.user_token(user_id)}"},
        auto_refresh_token=False,
        httpx_client=http,
        postgrest_client_timeout=None,  # type: ignore[arg-type]  # the default is deprecated, and warns
    )
    return await acreate_client(app.url, app.lite.publishable_key, options=options)


async def test_insert_change_list_and_refusals(app: App, http: httpx.AsyncClient) -> None:
    account, theirs = app.connect("youtube"), app.connect("youtube", app.other_id)
    supabase = await client_of(app, app.user_id, http)
    later: dict[str, Any] = {
        "account_id": str(account.account_id),
        "kind": "video",
        "title": "From Python",
        "media": [app.world.video()],
        "publish_at": (datetime.now(UTC) + timedelta(days=2)).isoformat(),
    }

    async def refused(request: Any) -> tuple[str, dict[str, Any]]:
        with pytest.raises(APIError) as caught:
            await request.execute()
        error = caught.value
        return str(error.code), json.loads(error.details or "") if str(error.code).startswith("OR") else {}

    post_id = str(uuid.uuid4())
    inserted = (
        await supabase.table("publish_jobs")
        .insert([{**later, "post_id": post_id}, {**later, "post_id": post_id, "client_ref": post_id}])
        .execute()
    )
    first, second = inserted.data
    assert [row["platform"] for row in inserted.data] == ["youtube", "youtube"]
    assert datetime.fromisoformat(first["publish_at"]) == datetime.fromisoformat(later["publish_at"])
    listed = (
        await supabase.table("publish_jobs")
        .select("job_id", count="exact")
        .in_("status", ["queued", "publishing"])  # publishing: a worker is looking at the media
        .eq("post_id", post_id)
        .order("client_ref", nullsfirst=True)
        .range(1, 1)
        .execute()
    )
    assert (listed.count, [row["job_id"] for row in listed.data]) == (2, [second["job_id"]])
    again = (
        await supabase.table("publish_jobs")
        .upsert({**later, "job_id": first["job_id"]}, ignore_duplicates=True)
        .execute()
    )
    assert again.data == []

    assert (
        await supabase.rpc(
            "check_post", {name: later[name] for name in ("account_id", "kind", "title", "media")}
        ).execute()
    ).data == []
    cancelled = await supabase.rpc("cancel_job", {"job_id": second["job_id"]}).execute()
    assert cancelled.data["status"] == "cancelled"
    assert await refused(supabase.rpc("retry_job", {"job_id": second["job_id"]})) == (
        "OR203",
        {"code": "job_already_finished", "field": "job_id"},
    )
    code, told = await refused(supabase.table("publish_jobs").insert({**later, "title": "x" * 101}))
    assert (code, told["code"], told["field"]) == ("OR002", "title_too_long", "title")
    code, told = await refused(supabase.table("publish_jobs").insert({**later, "account_id": str(theirs.account_id)}))
    assert told["code"] == "account_not_found"
    assert (await refused(supabase.table("publish_jobs").insert({**later, "status": "published"})))[0] == "42501"
    assert (await refused(supabase.table("publish_jobs").delete().eq("job_id", first["job_id"])))[0] == "42501"

    other = await client_of(app, app.other_id, http)
    assert (await other.table("publish_jobs").select("*").eq("post_id", post_id).execute()).data == []
    code, told = await refused(other.rpc("cancel_job", {"job_id": first["job_id"]}))
    assert told["code"] == "job_not_found"

    now = await supabase.table("publish_jobs").insert({**later, "publish_at": datetime.now(UTC).isoformat()}).execute()
    row = app.world.wait_for(UUID(now.data[0]["job_id"]), "published", "failed", "held")
    shown = (await supabase.table("publish_jobs").select("*").eq("job_id", str(row["job_id"])).execute()).data[0]
    assert (shown["status"], shown["permalink"], datetime.fromisoformat(shown["published_at"])) == (
        "published",
        row["permalink"],
        row["published_at"],
    )
