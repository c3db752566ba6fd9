"""What the real Realtime server delivers: the same promises as tests/db/test_realtime.py, heard through a socket.

Needs Docker: the Supabase CLI starts Postgres, Auth, Storage and Realtime as containers (several hundred megabytes of images) on ports of
its own, with this repository's migrations in them, and takes everything away again. Where there is no Docker these tests are skipped,
in CI too: it has none. What is decided in the database is proven there without it.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import jwt
import psycopg
import pytest
from psycopg.rows import dict_row
from realtime import AsyncRealtimeChannel, RealtimeSubscribeStates

from orbyt_worker.sandbox.postgres import free_port
from supabase import AsyncClient, acreate_client
from tests.db.test_realtime import KEYS
from tests.fix_node import ROOT
from tools.npm import environment, node

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

START_SECONDS_MAX = 900
HEAR_SECONDS_MAX = 30.0
# Everything the tests do not talk to.
LEFT_OUT = "imgproxy,mailpit,postgrest,postgres-meta,studio,edge-runtime,logflare,vector,supavisor"
VIDEO = '[{"type": "video", "url": "https://example.com/video.mp4"}]'


def docker_is_missing() -> str | None:
    """Why there is no Docker; None if there is."""
    docker = shutil.which("docker")
    if docker is None:
        return "no docker command"
    answer = subprocess.run([docker, "info"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return None if answer.returncode == 0 else answer.stderr.strip()


@dataclass(frozen=True)
class Stack:
    """A running Supabase."""

    api_url: str
    db_url: str
    anon_key: str
    jwt_secret: str

    def execute(self, statement: str, parameters: Any = None) -> list[dict[str, Any]]:
        with psycopg.connect(self.db_url, autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def create_owner(self) -> tuple[UUID, UUID]:
        user_id, account_id = uuid.uuid4(), uuid.uuid4()
        self.execute(
            "insert into auth.users (id, email, aud, role) values (%s, %s, 'authenticated', 'authenticated')",
            [user_id, f"{user_id.hex}@example.com"],
        )
        self.execute(
            "insert into orbyt.accounts (account_id, user_id, platform, platform_account_id, name) values (%s, %s, 'youtube', %s, 'Test')",
            [account_id, user_id, account_id.hex],
        )
        return user_id, account_id

    def insert_job(self, user_id: UUID, account_id: UUID) -> UUID:
        (row,) = self.execute(
            "insert into orbyt.publish_jobs (user_id, account_id, kind, title, media) values (%s, %s, 'video', 'A title', %s) returning job_id",
            [user_id, account_id, VIDEO],
        )
        return cast(UUID, row["job_id"])

    async def client(self, user_id: UUID) -> AsyncClient:
        """A signed-in app."""
        client = await acreate_client(self.api_url, self.anon_key)
        claims = {
            "sub": str(user_id),
            "role": "authenticated",
            "aud": "authenticated",
            "exp": int((datetime.now(UTC) + timedelta(hours=1)).timestamp()),
        }
        await client.realtime.set_auth(jwt.encode(claims, self.jwt_secret, algorithm="HS256"))
        return client


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, node_modules: Path) -> Iterator[Stack]:
    reason = docker_is_missing()
    if reason is not None:
        pytest.skip(f"the real Realtime server runs in Docker, and there is none here (nor in CI): {reason[:200]}")
    directory = tmp_path_factory.mktemp("realtime-stack")
    shutil.copytree(ROOT / "supabase" / "migrations", directory / "supabase" / "migrations")
    config = (ROOT / "supabase" / "config.toml").read_text(encoding="utf-8")
    # A project of its own, on free ports: a developer's own stack goes on undisturbed.
    config = config.replace('project_id = "orbyt"', f'project_id = "orbyt-tests-{uuid.uuid4().hex[:8]}"')
    config = re.sub(r"\b(port|shadow_port) = \d+", lambda found: f"{found[1]} = {free_port()}", config)
    config = config.split("[functions.", 1)[0]
    (directory / "supabase" / "config.toml").write_text(config, encoding="utf-8")
    env = environment() | {"SUPABASE_TELEMETRY_DISABLED": "1", "DO_NOT_TRACK": "1", "SUPABASE_NO_UPDATE_NOTIFIER": "1"}
    env |= {"HOME": str(directory), "NO_COLOR": "1"}

    def supabase(*arguments: str) -> str:
        answer = subprocess.run(
            [node(), node_modules / ".bin" / "supabase", *arguments, "--workdir", str(directory)],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_SECONDS_MAX,
            check=False,
        )
        assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-2000:]
        return answer.stdout

    try:
        supabase("start", "--exclude", LEFT_OUT)
        status = json.loads(supabase("status", "--output", "json"))
        yield Stack(status["API_URL"], status["DB_URL"], status["ANON_KEY"], status["JWT_SECRET"])
    finally:
        supabase("stop", "--no-backup")


@dataclass
class Ears:
    """One subscription: what it heard, in order, and how its join ended."""

    heard: list[dict[str, Any]] = field(default_factory=list)
    states: list[RealtimeSubscribeStates] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, message: Any) -> None:
        self.heard.append(message)
        self.changed.set()

    def state(self, state: RealtimeSubscribeStates, _error: Exception | None) -> None:
        self.states.append(state)
        self.changed.set()

    async def until(self, holds: Callable[[], bool], what: str, *, again: Callable[[], Any] | None = None) -> None:
        """Waits for the next event until it holds. `again` is done every second: a subscription starts to hear some time after it
        was told that it is subscribed (supabase/realtime, "Replication connection established")."""
        try:
            async with asyncio.timeout(HEAR_SECONDS_MAX):
                while not holds():
                    self.changed.clear()
                    if again is not None:
                        await asyncio.to_thread(again)
                    try:
                        async with asyncio.timeout(1):
                            await self.changed.wait()
                    except TimeoutError:
                        continue
        except TimeoutError:
            pytest.fail(f"{what}: not within {HEAR_SECONDS_MAX} s; heard {self.heard}, {self.states}")


async def listen(client: AsyncClient, topic: str) -> Ears:
    """Joins a private channel and hears every event of ours."""
    ears = Ears()
    channel: AsyncRealtimeChannel = client.channel(
        topic, {"config": {"private": True, "broadcast": None, "presence": None}}
    )
    for event in KEYS:
        channel.on_broadcast(event, ears.hear)
    await channel.subscribe(ears.state)
    await ears.until(lambda: bool(ears.states), f"an answer to joining {topic}")
    return ears


async def watch(client: AsyncClient, table: str) -> Ears:
    """Subscribes to the changes of a table, as the app does."""
    ears = Ears()
    channel: AsyncRealtimeChannel = client.channel(f"changes-{uuid.uuid4().hex[:6]}")
    channel.on_postgres_changes(cast(Any, "*"), ears.hear, table=table, schema="orbyt")
    await channel.subscribe(ears.state)
    await ears.until(lambda: RealtimeSubscribeStates.SUBSCRIBED in ears.states, f"subscribed to {table}")
    return ears


async def first_of(ears: Ears, stack: Stack, user_id: UUID, account_id: UUID) -> None:
    """From here on it hears: jobs of that user are inserted until it has heard of one."""
    await ears.until(lambda: bool(ears.heard), "a first message", again=lambda: stack.insert_job(user_id, account_id))


def told(ears: Ears) -> list[dict[str, Any]]:
    """The payloads of the broadcasts."""
    return [each["payload"] for each in ears.heard]


@pytest.fixture
async def people(stack: Stack) -> AsyncIterator[tuple[tuple[UUID, UUID, AsyncClient], tuple[UUID, UUID, AsyncClient]]]:
    """Two users with an account and an app each."""
    clients = []
    found = []
    for _ in range(2):
        user_id, account_id = stack.create_owner()
        client = await stack.client(user_id)
        clients.append(client)
        found.append((user_id, account_id, client))
    try:
        yield found[0], found[1]
    finally:
        for client in clients:
            await client.realtime.close()


async def test_broadcasts_reach_the_owner_and_nobody_else(stack: Stack, people: Any) -> None:
    (user_id, account_id, app), (other, theirs, stranger) = people
    refused = await listen(stranger, f"orbyt:{user_id}")
    assert RealtimeSubscribeStates.SUBSCRIBED not in refused.states
    ears, others = await listen(app, f"orbyt:{user_id}"), await listen(stranger, f"orbyt:{other}")
    assert ears.states[0] is RealtimeSubscribeStates.SUBSCRIBED
    await first_of(ears, stack, user_id, account_id)
    await first_of(others, stack, other, theirs)
    job_id = stack.insert_job(user_id, account_id)
    stack.execute("update orbyt.publish_jobs set status = 'cancelled' where job_id = %s", [job_id])
    await ears.until(lambda: any(each.get("status") == "cancelled" for each in told(ears)), "the cancelled job")
    mine = [each for each in told(ears) if each["job_id"] == str(job_id)]
    assert [each["status"] for each in mine] == ["queued", "cancelled"]
    assert mine[0]["version"] < mine[1]["version"]
    for each in mine:
        assert set(each) - {"id"} == KEYS["publish_job"]
    assert {each["account_id"] for each in told(others)} == {str(theirs)}
    assert refused.heard == []


async def test_a_client_cannot_speak_on_its_own_topic(stack: Stack, people: Any) -> None:
    (user_id, account_id, app), _ = people
    second = await stack.client(user_id)
    ears = await listen(second, f"orbyt:{user_id}")
    await first_of(ears, stack, user_id, account_id)
    channel = app.channel(f"orbyt:{user_id}", {"config": {"private": True, "broadcast": None, "presence": None}})
    joined = Ears()
    await channel.subscribe(joined.state)
    await joined.until(lambda: bool(joined.states), "joined")
    await channel.send_broadcast("publish_job", {"job_id": "forged", "status": "published"})
    job_id = stack.insert_job(user_id, account_id)
    await ears.until(lambda: any(each["job_id"] == str(job_id) for each in told(ears)), "what came after it")
    assert not any(each["job_id"] == "forged" for each in told(ears))
    await second.realtime.close()


async def test_changes_reach_the_owner_whole_and_nobody_else(stack: Stack, people: Any) -> None:
    (user_id, account_id, app), (other, theirs, stranger) = people
    ears, others = await watch(app, "publish_jobs"), await watch(stranger, "publish_jobs")
    await first_of(ears, stack, user_id, account_id)
    await first_of(others, stack, other, theirs)
    job_id = stack.insert_job(user_id, account_id)
    await ears.until(lambda: str(job_id) in str(ears.heard), "the insert")
    (row,) = stack.execute("select * from orbyt.publish_jobs where job_id = %s", [job_id])
    record = next(each for each in ears.heard if str(job_id) in str(each))["data"]["record"]
    assert set(record) == set(row)
    assert (record["title"], record["status"]) == ("A title", "queued")
    # Heard after everything of the other user that was done before: so that was never sent.
    last = stack.insert_job(other, theirs)
    await others.until(lambda: str(last) in str(others.heard), "the stranger's own")
    assert str(job_id) not in str(others.heard)


async def test_a_delete_tells_everybody_an_id_and_nothing_else(stack: Stack, people: Any) -> None:
    (user_id, account_id, _), (other, theirs, stranger) = people
    others = await watch(stranger, "publish_jobs")
    await first_of(others, stack, other, theirs)
    job_id = stack.insert_job(user_id, account_id)
    stack.execute("delete from orbyt.publish_jobs where job_id = %s", [job_id])
    await others.until(lambda: str(job_id) in str(others.heard), "the delete")
    (gone,) = [each["data"] for each in others.heard if str(job_id) in str(each)]
    assert gone["old_record"] == {"job_id": str(job_id)}
