"""The real supabase-js on the Data API: an app that has nothing else, and a worker that publishes what it inserted."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import UUID

import httpx

from orbyt_worker.local import RETURN_TO
from tests.clients.conftest import App
from tests.fix_lite import CheckTypes, RunNode

HERE = Path(__file__).parent


def test_everything_an_app_may_do_and_what_it_is_refused(
    app: App, rpcs: set[str], app_directory: Path, check_types: CheckTypes, run_node: RunNode
) -> None:
    youtube, facebook, theirs = app.connect("youtube"), app.connect("facebook"), app.connect("youtube", app.other_id)
    shutil.copy(HERE / "supabase_js.ts", app_directory)
    check_types("supabase_js.ts")
    answer = run_node(
        "supabase_js.ts",
        app.given(
            rpcs=sorted(rpcs),
            youtube=youtube.account_id,
            facebook=facebook.account_id,
            theirs=theirs.account_id,
            video=app.world.video()["url"],
            returnTo=RETURN_TO,
        ),
    )
    row = app.world.wait_for(UUID(answer["jobId"]), "published", "failed", "held")
    (video,) = app.world.videos(youtube)
    assert (row["status"], row["platform_post_id"]) == ("published", video.video_id)


def test_the_types_refuse_what_the_database_refuses(app_directory: Path, check_types: CheckTypes) -> None:
    (app_directory / "careless.ts").write_text(
        """
        import { createClient } from "@supabase/supabase-js";
        import type { OrbytDatabase } from "orbyt-client";
        const supabase = createClient<OrbytDatabase, "orbyt">("", "", { db: { schema: "orbyt" } });
        await supabase.from("publish_jobs").insert({ account_id: "", kind: "video", status: "published" });
        await supabase.from("publish_jobs").update({ account_id: "" });
        await supabase.from("publish_jobs").insert({ account_id: "", kind: "film" });
        await supabase.from("publish_jobs").insert({ account_id: "", kind: "video", options: { privacy: "secret" } });
        await supabase.from("accounts").update({ status: "active" });
        await supabase.rpc("disconnect", { account_id: "", jobs: "forget" });
        """,
        "utf-8",
    )
    said = check_types("careless.ts", expect="errors").stdout
    lines = {line.split("(")[1].split(",")[0] for line in said.splitlines() if line.startswith("careless.ts")}
    assert lines == {"5", "6", "7", "8", "9", "10"}, said


def test_grants_are_honest(app: App) -> None:
    """Guards every other test here: the server must not have rights of its own to give away."""
    account = app.connect("youtube")
    headers = {
        "apikey": app.lite.publishable_key,
        "authorization": f"Bearer {app.lite.user_token(app.user_id)}",
        "content-profile": "orbyt",
        "accept-profile": "orbyt",
    }
    with httpx.Client(base_url=app.url, headers=headers, trust_env=False, timeout=30) as http:
        refused = http.post(
            "/rest/v1/publish_jobs",
            json={"account_id": str(account.account_id), "kind": "video", "status": "published"},
        )
        assert (refused.status_code, refused.json()["code"]) == (403, "42501")
        assert http.get("/rest/v1/account_secrets", headers={"accept-profile": "orbyt_private"}).status_code == 406
    (row,) = app.world.database.fetch(
        """
        select has_table_privilege('authenticated', 'orbyt.publish_jobs', 'insert') as table_wide,
               has_column_privilege('authenticated', 'orbyt.publish_jobs', 'status', 'update') as status,
               has_table_privilege('authenticated', 'orbyt_private.account_secrets', 'select') as secrets,
               has_table_privilege('lite_api', 'orbyt.publish_jobs', 'update') as own
        """
    )
    assert row == {"table_wide": False, "status": False, "secrets": False, "own": False}


def test_a_page_on_another_origin_may_call_it(app: App) -> None:
    with httpx.Client(base_url=app.url, trust_env=False, timeout=30) as http:
        asked = http.options(
            "/rest/v1/publish_jobs",
            headers={
                "origin": "http://127.0.0.1:5173",
                "access-control-request-method": "POST",
                "access-control-request-headers": "apikey,authorization,content-profile",
            },
        )
        assert asked.status_code == 204
        assert asked.headers["access-control-allow-headers"] == "apikey,authorization,content-profile"
        answer = http.get("/rest/v1/platforms", headers={"apikey": app.lite.publishable_key, "accept-profile": "orbyt"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
