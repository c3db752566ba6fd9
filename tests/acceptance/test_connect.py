"""From the app's button to a working account and back, real HTTP on all hops: the app's statements, the platform's page, the
callback door of a worker process, the exchange, the choice; and what happens when any of it goes wrong."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx

from orbyt_worker.local import RETURN_TO, browse
from orbyt_worker.sandbox.postgres import free_port
from tests.acceptance.kinds import image
from tests.fix_world import World

SETTLED = ("published", "failed", "held")


def query_of(link: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}


def session_of(world: World, session_id: UUID) -> dict[str, Any]:
    return dict(world.database.connect_session(world.user_id, session_id))


def account_of(world: World, account_id: UUID) -> dict[str, Any]:
    return world.database.fetch("select * from orbyt.accounts where account_id = %s", [account_id])[0]


def ended(world: World, session_id: UUID) -> dict[str, Any]:
    world.wait_until(lambda: session_of(world, session_id)["status"] not in {"started", "exchanging"})
    return session_of(world, session_id)


# The circle ----------------------------------------------------------------------------------------------------------------


def test_youtube_from_the_button_to_the_post_and_back_after_a_revocation(world: World) -> None:
    google = world.sandbox.state.google
    person = google.create_account(channel_title="Mine")
    with world.connecting_worker() as worker:
        connection = world.connect_by_oauth("youtube", person=person.sub)
        assert connection.session["status"] == "connected", connection.session["error_code"]
        assert connection.link.split("?")[0] == RETURN_TO
        assert set(query_of(connection.link)) == {"session_id", "status"}
        (account,) = connection.accounts
        row = account_of(world, account.account_id)
        assert (row["status"], row["platform_account_id"], row["name"]) == ("active", person.channel_id, "Mine")

        first = world.insert(account, title="First", media=[world.video()])
        assert world.wait_for(first, *SETTLED)["status"] == "published"

        # The person takes it back in their Google account: the next post waits, and says for what.
        google.kill_grant(sub=person.sub)
        google.expire_access_tokens(person.sub)
        second = world.insert(account, title="Second", media=[world.video()])
        held = world.wait_for(second, *SETTLED)
        assert (held["status"], held["needs_reauth"]) == ("held", True), held["error_code"]
        assert account_of(world, account.account_id)["status"] == "needs_reauth"

        again = world.connect_by_oauth("youtube", person=person.sub, account_id=account.account_id)
        assert [each.account_id for each in again.accounts] == [account.account_id]
        assert world.wait_for(second, "published", "failed")["status"] == "published"
        assert worker.stop() == 0
    assert [video.title for video in world.videos(account)] == ["First", "Second"]
    assert google.token_call_count("authorization_code") == 2


def test_a_page_among_120_is_chosen_and_comes_back_after_the_app_was_removed(world: World) -> None:
    meta = world.sandbox.state.meta
    person = meta.create_user()
    pages = meta.create_pages(120, user_id=person.user_id)
    wanted = pages[99].page_id
    with world.connecting_worker() as worker:
        connection = world.connect_by_oauth("facebook", person=person.user_id, choose=[wanted])
        session = connection.session
        assert session["status"] == "connected", session["error_code"]
        assert query_of(connection.link)["status"] == "exchanging"
        assert len(session["candidates"]) == 120
        assert session["candidates_complete"]
        (account,) = connection.accounts
        assert account.platform_account_id == wanted
        # What was not chosen is not kept.
        kept = world.database.fetch(
            "select (select count(*) from orbyt_private.connect_grants) as grants, (select count(*) from orbyt.accounts) as accounts"
        )
        assert kept == [{"grants": 0, "accounts": 1}]

        first = world.insert(account, kind="text", title=None, caption="First")
        assert world.wait_for(first, *SETTLED)["status"] == "published"

        meta.kill_user(person.user_id, "app_removed")
        second = world.insert(account, kind="text", title=None, caption="Second")
        held = world.wait_for(second, *SETTLED)
        assert (held["status"], held["needs_reauth"]) == ("held", True), held["error_code"]

        # Among 120 again, but nobody is asked: it is about this one.
        again = world.connect_by_oauth("facebook", person=person.user_id, account_id=account.account_id)
        assert again.session["status"] == "connected"
        assert [each.account_id for each in again.accounts] == [account.account_id]
        assert world.wait_for(second, "published", "failed")["status"] == "published"
        assert worker.stop() == 0
    assert len(meta.facebook.published(wanted)) == 2


def test_instagram_by_both_of_its_logins(world: World) -> None:
    meta = world.sandbox.state.meta
    linked = meta.create_instagram(login="facebook")
    alone = meta.create_instagram(login="instagram")
    assert linked.user_id is not None
    with world.connecting_worker() as worker:
        for login, person, instagram_id in (
            ("facebook", linked.user_id, linked.instagram_id),
            ("instagram", alone.instagram_id, alone.instagram_id),
        ):
            connection = world.connect_by_oauth("instagram", login=login, person=person)
            assert connection.session["status"] == "connected", (login, connection.session["error_code"])
            (account,) = connection.accounts
            assert account.platform_account_id == instagram_id
            row = account_of(world, account.account_id)
            assert row["token_expires_at"] is not None or login == "facebook"
            assert row["data_access_expires_at"] is not None or login == "instagram"
            job_id = world.insert(account, kind="photo", title=None, caption=login, media=[image(world)])
            assert world.wait_for(job_id, *SETTLED)["status"] == "published"
            assert meta.instagram.count(ig_id=instagram_id) == 1
        assert worker.stop() == 0


# What goes wrong -----------------------------------------------------------------------------------------------------------


def test_every_way_it_can_fail_ends_in_the_app_with_its_code(world: World) -> None:
    state = world.sandbox.state
    google, meta, faults = state.google, state.meta, state.faults
    person = google.create_account()
    nobody = google.create_account(channel=False)
    pageless = meta.create_user()
    with world.connecting_worker():

        def code_of(platform: str, who: str | None, **options: Any) -> str:
            connection = world.connect_by_oauth(platform, person=who, **options)
            session = connection.session
            assert session["status"] == "failed", session
            assert set(query_of(connection.link)) == {"session_id", "status"}
            assert connection.accounts == []
            return str(session["error_code"])

        assert code_of("youtube", "deny") == "connect_denied"
        google.next_consent(sub=person.sub, error="server_error")
        assert code_of("youtube", None) == "connect_platform_refused"
        google.next_consent(sub=person.sub, scopes=("https://www.googleapis.com/auth/youtube.readonly",))
        assert code_of("youtube", None) == "connect_scopes_missing"
        assert code_of("youtube", nobody.sub) == "connect_no_channel"
        assert code_of("facebook", pageless.user_id) == "connect_no_pages"
        faults.add("google.token", "status", status=503, times=1)
        assert code_of("youtube", person.sub) == "connect_platform_refused"
        faults.add("google.token", "drop_after", times=1)
        assert code_of("youtube", person.sub) == "connect_interrupted"
        # Each code was tried once, whatever came of it.
        calls = state.requests.list("google.token")
        assert len(calls) == 4, [(each.path, each.status) for each in calls]

        # A channel that is not the one to be reconnected.
        (account,) = world.connect_by_oauth("youtube", person=person.sub).accounts
        other = google.create_account()
        assert code_of("youtube", other.sub, account_id=account.account_id) == "account_wrong_channel"
        assert account_of(world, account.account_id)["status"] == "active"


def test_a_browser_that_comes_back_twice_or_with_anothers_code_connects_nothing_more(world: World) -> None:
    google = world.sandbox.state.google
    person, thief = google.create_account(), google.create_account()
    with world.connecting_worker():
        mine = world.connect_by_oauth("youtube", person=person.sub)
        assert mine.session["status"] == "connected"
        door = query_of(world.database.begin_connect(world.user_id, "youtube").authorize_url)["redirect_uri"]

        def visit(**query: str) -> dict[str, str]:
            answer = httpx.get(door, params=query, follow_redirects=False)
            assert answer.status_code == 303
            return query_of(answer.headers["location"])

        # A code of somebody else's login, sent to the victim's session: PKCE binds it to the session it was asked for.
        victim = world.database.begin_connect(world.user_id, "youtube")
        stolen = world.database.begin_connect(world.user_id, "youtube")
        consent = httpx.get(
            f"{stolen.authorize_url}&sandbox_account={thief.sub}", follow_redirects=False, trust_env=False
        )
        code = query_of(consent.headers["location"])["code"]
        state = query_of(victim.authorize_url)["state"]
        assert visit(state=state, code=code) == {"session_id": str(victim.session_id), "status": "exchanging"}
        assert ended(world, victim.session_id)["error_code"] == "connect_code_rejected"
        # The same again: the session is over, and says so.
        assert visit(state=state, code=code) == {"session_id": str(victim.session_id), "status": "failed"}
        assert visit(state="never-given-out", code=code) == {"status": "failed"}
        assert google.token_call_count("authorization_code") == 2
    assert world.database.fetch("select count(*) as n from orbyt.accounts") == [{"n": 1}]


def test_a_worker_killed_in_the_middle_of_the_exchange_loses_the_session_and_nothing_else(world: World) -> None:
    state = world.sandbox.state
    person = state.google.create_account()
    port = free_port()
    # The platform has taken the code; its answer never comes.
    state.faults.add("google.token", "hang", times=1, seconds=30, process=True)
    with world.connecting_worker(name="first", port=port) as first:
        world.wait_until(world.connectable, timeout_seconds=60)
        begun = world.database.begin_connect(world.user_id, "youtube")
        browse(f"{begun.authorize_url}&sandbox_account={person.sub}")
        world.wait_until(lambda: state.requests.count("google.token") == 1)
        first.kill()
    with world.connecting_worker(name="second", port=port) as second:
        session = ended(world, begun.session_id)
        assert (session["status"], session["error_code"]) == ("failed", "connect_interrupted")
        left = world.database.fetch("select code_verifier, sealed_code, worker_id from orbyt_private.connect_flows")
        assert left == [{"code_verifier": None, "sealed_code": None, "worker_id": None}]
        connection = world.connect_by_oauth("youtube", person=person.sub)
        assert connection.session["status"] == "connected"
        assert second.stop() == 0
    # Two codes, each redeemed once.
    assert state.requests.count("google.token") == 2


# Letting go ----------------------------------------------------------------------------------------------------------------


def secrets_of(world: World, account_id: UUID) -> int:
    (row,) = world.database.fetch(
        "select count(*) as n from orbyt_private.account_secrets where account_id = %s", [account_id]
    )
    return int(row["n"])


def test_disconnecting_ends_the_grant_destroys_the_secrets_and_deals_with_the_jobs_as_asked(world: World) -> None:
    state = world.sandbox.state
    person, other = state.google.create_account(), state.google.create_account()
    with world.connecting_worker():
        (account,) = world.connect_by_oauth("youtube", person=person.sub).accounts
        (second,) = world.connect_by_oauth("youtube", person=other.sub).accounts
        later = "now() + interval '2 days'"
        (due,) = world.database.fetch(f"select {later} as at")
        waiting = world.insert(account, title="Waits", media=[world.video()], publish_at=due["at"])
        dropped = world.insert(second, title="Dropped", media=[world.video()], publish_at=due["at"])

        world.database.as_user(world.user_id, "select orbyt.disconnect(%s, 'hold')", [account.account_id])
        assert world.wait_for(waiting, "held")["error_code"] == "account_disconnected"
        world.wait_until(lambda: secrets_of(world, account.account_id) == 0)
        assert state.requests.count("google.revoke") == 1
        assert [grant.dead for grant in state.google.grants.values() if grant.sub == person.sub][-1] == "revoked"
        assert [grant.dead for grant in state.google.grants.values() if grant.sub == other.sub][-1] is None

        # The platform is down while it is told, for longer than we try: the secrets are destroyed all the same.
        state.faults.add("google.revoke", "status", times=None, status=503)
        world.database.as_user(world.user_id, "select orbyt.disconnect(%s, 'cancel')", [second.account_id])
        assert world.job(dropped)["status"] == "cancelled"

        def grant() -> dict[str, Any]:
            return world.database.fetch(
                "select * from orbyt_private.account_grants where account_id = %s", [second.account_id]
            )[0]

        world.wait_until(lambda: grant()["revoke_error_code"] is not None)
        assert secrets_of(world, second.account_id) > 0
        assert grant()["revoked_at"] is None
        world.database.fetch(
            "update orbyt_private.account_grants set revoke_requested_at = now() - interval '25 hours', revoke_lease_until = null"
            " where account_id = %s",
            [second.account_id],
        )
        world.wait_until(lambda: secrets_of(world, second.account_id) == 0)
        assert grant()["revoke_error_code"] == "google_token_unavailable"
        assert state.requests.count("google.revoke") == 3

        # Whoever comes back finds the same account, and what waited goes on.
        (back,) = world.connect_by_oauth("youtube", person=person.sub).accounts
        assert back.account_id == account.account_id
        assert world.wait_for(waiting, "queued")["error_code"] is None
