"""The two doors of a login, the worker's and the Edge Function, side by side: the same query gets the same answer.

Real Deno, real Postgres. Each case begins sessions of its own, one for each door; what the answers, the rows and the event for the
worker look like is compared with the session's id taken out.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import httpx
import pytest
import structlog
from psycopg.types.json import Jsonb

from orbyt_worker.callback_crypto import PrivateKey, seal, state_hash
from orbyt_worker.errors.failure import Failure
from orbyt_worker.web.app import http_app
from orbyt_worker.web.oauth_answer import QUERY_BYTES_MAX, STATE_CHARACTERS_MAX, read_answer
from orbyt_worker.web.parts import Parts
from tests.factories import create_user
from tests.fix_deno import FUNCTIONS, SECRET_KEY, DataApi, EdgeFunction, deno_environment
from tests.fix_postgres import Database
from tests.web.conftest import RETURN_TO, client_at, unlimited
from tests.web.people import Begun, begin, set_up

CODE = "4/0AbCd-planted_code.XYZ~9f8e7d+/="
ENCODED = quote(CODE, safe="")


@dataclass(frozen=True)
class Case:
    """`query` of a state; what becomes of the session: its status and error code. `known` False: no session is touched."""

    name: str
    query: Callable[[str], str]
    status: str = "failed"
    code: str | None = None
    known: bool = True


CASES = [
    # Success, in the platforms' forms.
    Case("google", lambda s: f"state={s}&code={ENCODED}&scope=a%20b&authuser=0&prompt=consent", "exchanging"),
    Case("facebook", lambda s: f"code={ENCODED}&state={s}", "exchanging"),
    Case("facebook leftover", lambda s: f"code={ENCODED}&state={s}%23_%3D_", "exchanging"),
    Case("instagram leftover", lambda s: f"state={s}&code={ENCODED}%23_", "exchanging"),
    Case("instagram leftover at the state", lambda s: f"code={ENCODED}&state={s}%23_", "exchanging"),
    # No.
    Case("google denied", lambda s: f"error=access_denied&state={s}", "failed", "connect_denied"),
    Case(
        "facebook cancelled",
        lambda s: (
            f"error_reason=user_denied&error=access_denied&error_description=Permissions+error&error_code=200&state={s}"
        ),
        code="connect_denied",
    ),
    Case("only a reason", lambda s: f"error_reason=user_denied&state={s}", code="connect_denied"),
    Case("cancelled", lambda s: f"error=user_cancelled&state={s}", code="connect_cancelled"),
    Case("yes and no", lambda s: f"code={ENCODED}&error=access_denied&state={s}", code="connect_denied"),
    # Trouble at the platform.
    Case("platform error", lambda s: f"error=server_error&state={s}", code="connect_platform_refused"),
    Case(
        "facebook misconfigured",
        lambda s: f"error_code=1349048&error_message=planted-text+with+{CODE[2:8]}&state={s}",
        code="connect_platform_refused",
    ),
    Case("empty error", lambda s: f"error=&state={s}", code="connect_platform_refused"),
    Case("odd error", lambda s: f"error=%3Cscript%3Eplanted&state={s}", code="connect_platform_refused"),
    Case(
        "error twice", lambda s: f"error=access_denied&error=access_denied&state={s}", code="connect_platform_refused"
    ),
    Case("loud error", lambda s: f"error=ACCESS_DENIED&state={s}", code="connect_denied"),
    # A code that is none.
    Case("no code", lambda s: f"state={s}", code="connect_platform_refused"),
    Case("empty code", lambda s: f"state={s}&code=", code="connect_platform_refused"),
    Case("code twice", lambda s: f"code=a&code=b&state={s}", code="connect_platform_refused"),
    Case("oversized code", lambda s: f"code={'x' * 4097}&state={s}", code="connect_platform_refused"),
    Case("largest code", lambda s: f"code={'x' * 4096}&state={s}", "exchanging"),
    Case("code with control characters", lambda s: f"code=a%0d%0ab&state={s}", code="connect_platform_refused"),
    Case("code that is no text", lambda s: f"code=%ff%fe&state={s}", code="connect_platform_refused"),
    # A state that is none.
    Case("no state", lambda s: f"code={ENCODED}", known=False),
    Case("nothing", lambda s: "", known=False),
    Case("empty state", lambda s: f"state=&code={ENCODED}", known=False),
    Case("unknown state", lambda s: f"state={s[:-1]}_&code={ENCODED}", known=False),
    Case("another case", lambda s: f"state={s.swapcase()}&code={ENCODED}", known=False),
    Case("state twice", lambda s: f"state={s}&state={s}&code={ENCODED}", known=False),
    Case("state with a tail", lambda s: f"state={s}%00&code={ENCODED}", known=False),
    Case("state in another script", lambda s: f"state=%D0%B0{s[1:]}&code={ENCODED}", known=False),
    Case("oversized state", lambda s: f"state={s}{'x' * STATE_CHARACTERS_MAX}&error=access_denied", known=False),
    Case("oversized query", lambda s: f"state={s}&code={ENCODED}&x={'y' * QUERY_BYTES_MAX}", known=False),
    Case("name with a question mark", lambda s: f"?state={s}&code={ENCODED}", known=False),
    Case("a semicolon separates nothing", lambda s: f"state={s};code={ENCODED}", known=False),
]


class Door:
    """Where a browser comes back to."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url

    async def visit(self, query: str, method: str = "GET") -> httpx.Response:
        return await self._client.request(method, f"{self._url}?{query}", follow_redirects=False)


@pytest.fixture
async def doors(edge: EdgeFunction, parts: Parts) -> AsyncIterator[dict[str, Door]]:
    async with (
        client_at(http_app(parts, buckets=unlimited())) as worker,
        httpx.AsyncClient(timeout=20, trust_env=False) as outside,
    ):
        yield {"worker": Door(worker, "/connect/callback"), "edge": Door(outside, edge.url)}


@pytest.fixture(scope="session")
def private_key() -> PrivateKey:
    return PrivateKey.generate()


@pytest.fixture
async def ready(db: Database, private_key: PrivateKey) -> Database:
    """A worker has been here."""
    await set_up(db, private_key.public_jwk("k1"))
    return db


async def session_of(db: Database, begun: Begun) -> dict[str, Any]:
    return await db.row(
        "select s.status, s.error_code, s.error_message, f.sealed_code, f.used_at is not null as used "
        "from orbyt.connect_sessions s join orbyt_private.connect_flows f using (session_id) where session_id = %s",
        [begun.session_id],
    )


def told(answer: httpx.Response, begun: Begun | None = None) -> tuple[int, str]:
    """Status and link, without the session's id. Checks what every answer of a door must be."""
    assert answer.content == b""
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "text/html" not in answer.headers.get("content-type", "")
    location = answer.headers["location"]
    assert {name for name, _ in parse_qsl(urlsplit(location).query)} <= {"session_id", "status"}
    return answer.status_code, location.replace(str(begun.session_id), "SESSION") if begun else location


async def test_both_doors_say_the_same(
    ready: Database,
    doors: dict[str, Door],
    data_api: DataApi,
    edge: EdgeFunction,
    private_key: PrivateKey,
    subtests: pytest.Subtests,
) -> None:
    for case in CASES:
        with subtests.test(case.name):
            data_api.bodies.clear()
            await say_the_same(case, ready, doors, data_api, edge, private_key)


async def say_the_same(
    case: Case,
    ready: Database,
    doors: dict[str, Door],
    data_api: DataApi,
    edge: EdgeFunction,
    private_key: PrivateKey,
) -> None:
    answers: dict[str, tuple[int, str]] = {}
    sessions: dict[str, dict[str, Any]] = {}
    for name, door in doors.items():
        begun = await begin(ready)
        query = case.query(begun.state)
        answer = await door.visit(query)
        answers[name] = told(answer, begun)
        # Again, as a browser does that goes back: the same answer, and nothing changes.
        before = await session_of(ready, begun)
        assert told(await door.visit(query), begun) == answers[name]
        after = await session_of(ready, begun)
        assert after == before
        sealed = after.pop("sealed_code")
        if case.status == "exchanging":
            expected = read_answer(query.encode()).code
            assert expected is not None
            assert private_key.open(sealed, state_hash=state_hash(begun.state)) == expected
            assert expected.encode() not in sealed
        else:
            assert sealed is None
        sessions[name] = after
        assert begun.state not in str(after) + answer.headers["location"]
    assert answers["worker"] == answers["edge"]
    assert sessions["worker"] == sessions["edge"]
    if case.known:
        assert answers["worker"] == (303, f"{RETURN_TO}?session_id=SESSION&status={case.status}")
        assert (sessions["edge"]["status"], sessions["edge"]["error_code"]) == (case.status, case.code)
        assert sessions["edge"]["used"]
    else:
        assert answers["worker"] == (303, f"{RETURN_TO}?status=failed")
        assert (sessions["edge"]["status"], sessions["edge"]["used"]) == ("started", False)
    # Neither the rows nor what crossed the Data API or went to the log shows what came along.
    seen = str(sessions) + "".join(data_api.bodies) + edge.log()
    for secret in (CODE, ENCODED, "planted"):
        assert secret not in seen


@pytest.mark.parametrize("first", ["code=abc", "error=access_denied"])
@pytest.mark.parametrize("second", ["code=other", "error=server_error"])
async def test_a_state_counts_once(ready: Database, doors: dict[str, Door], first: str, second: str) -> None:
    """Whatever comes with it the second time, and through whichever door."""
    for one, other in (("worker", "edge"), ("edge", "worker"), ("worker", "worker"), ("edge", "edge")):
        begun = await begin(ready)
        answer = told(await doors[one].visit(f"state={begun.state}&{first}"), begun)
        before = await session_of(ready, begun)
        assert told(await doors[other].visit(f"state={begun.state}&{second}"), begun) == answer
        assert await session_of(ready, begun) == before


@pytest.mark.parametrize("ended_before", [False, True])
async def test_a_session_whose_time_is_over(ready: Database, doors: dict[str, Door], ended_before: bool) -> None:
    for door in doors.values():
        begun = await begin(ready)
        await ready.execute(
            "update orbyt.connect_sessions set expires_at = now() - interval '1 second' where session_id = %s",
            [begun.session_id],
        )
        if ended_before:
            await ready.execute("select orbyt_private.expire_connects()")
        answer = await door.visit(f"state={begun.state}&code={ENCODED}")
        assert told(answer, begun) == (303, f"{RETURN_TO}?session_id=SESSION&status=expired")
        row = await session_of(ready, begun)
        assert (row["status"], row["error_code"], row["sealed_code"]) == ("expired", "connect_expired", None)


async def test_the_link_of_the_session_is_used_not_the_first(ready: Database, doors: dict[str, Door]) -> None:
    web = "https://studio.example/connected"
    await set_up(ready, None, (RETURN_TO, web))
    for door in doors.values():
        begun = await begin(ready, web)
        assert told(await door.visit(f"state={begun.state}&code=x"), begun)[1].startswith(f"{web}?session_id=SESSION&")
        assert told(await door.visit("state=unknown"))[1] == f"{RETURN_TO}?status=failed"


async def test_before_any_worker_has_made_a_key(db: Database, doors: dict[str, Door]) -> None:
    """A code that nobody could open is not kept in clear instead."""
    await set_up(db, None)
    for door in doors.values():
        begun = await begin(db)
        assert told(await door.visit(f"state={begun.state}&code={ENCODED}"), begun)[1].endswith("status=failed")
        assert (await session_of(db, begun))["error_code"] == "connect_platform_refused"


async def test_with_a_key_that_somebody_has_spoilt(
    ready: Database, doors: dict[str, Door], edge: EdgeFunction, subtests: pytest.Subtests
) -> None:
    for jwk in BROKEN_KEYS:
        await ready.execute("update orbyt_private.callback_keys set public_jwk = %s", [Jsonb(jwk)])
        for name, door in doors.items():
            with subtests.test(door=name, jwk=jwk):
                begun = await begin(ready)
                answer = await door.visit(f"state={begun.state}&code={ENCODED}")
                assert told(answer, begun) == (303, f"{RETURN_TO}?session_id=SESSION&status=failed")
                assert (await session_of(ready, begun))["error_code"] == "connect_platform_refused"
    assert CODE not in edge.log()


async def test_an_installation_without_any_link(db: Database, doors: dict[str, Door]) -> None:
    """Nothing is set up in the database; the doors have a link of their own."""
    for door in doors.values():
        assert told(await door.visit("state=unknown&code=x")) == (303, f"{RETURN_TO}?status=failed")


async def test_only_get(ready: Database, doors: dict[str, Door]) -> None:
    """What is sent to look at a link must not use its state up."""
    for door in doors.values():
        begun = await begin(ready)
        for method in ("HEAD", "POST", "OPTIONS"):
            answer = await door.visit(f"state={begun.state}&code=x", method)
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
        assert (await session_of(ready, begun))["status"] == "started"


async def test_the_edge_function_knows_its_name_only(doors: dict[str, Door], edge: EdgeFunction) -> None:
    base = edge.url.removesuffix("/functions/v1/connect-callback")
    async with httpx.AsyncClient(trust_env=False) as client:
        for path in ("/", "/functions/v1/other", "/connect-callback/more"):
            assert (await client.get(base + path)).status_code == 404
        for path in ("/connect-callback", "/anything/connect-callback/"):
            assert (await client.get(base + path)).status_code == 303


async def test_workers_are_woken(ready: Database, doors: dict[str, Door]) -> None:
    for door in doors.values():
        listener = await ready.connect()
        await listener.execute("listen orbyt_connect")
        begun = await begin(ready)
        await door.visit(f"state={begun.state}&code=x")
        assert [each.channel async for each in listener.notifies(timeout=5, stop_after=1)] == ["orbyt_connect"]


async def test_the_secret_key_is_no_way_around(ready: Database) -> None:
    """What the function may say to the database, and a signed-in user may not."""
    user_id = await create_user(ready)
    for role, allowed in ((ready.as_service_role(), True), (ready.as_user(user_id), False), (ready.as_anon(), False)):
        async with role as connection:
            row = await (
                await connection.execute(
                    "select has_function_privilege('orbyt.connect_callback(text, text, text, text)', 'execute') as one, "
                    "has_function_privilege('orbyt.callback_key()', 'execute') as other"
                )
            ).fetchone()
            assert row == {"one": allowed, "other": allowed}


# The handler by itself ------------------------------------------------------------------------------------------------------


Driver = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


@pytest.fixture
def driver(deno: str, tmp_path: Path) -> Driver:
    """Runs the handler with any environment, on answers of the Data API that are given with each case."""

    def run(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
        done = subprocess.run(
            [
                *(deno, "run", "--quiet", "--no-prompt", "--no-remote", "--no-npm"),
                str(Path(__file__).with_name("edge_driver.ts")),
            ],
            input=json.dumps(cases),
            env=deno_environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "planted" not in done.stderr
        answers: list[dict[str, Any]] = json.loads(done.stdout)
        return answers

    return run


FINE = {"status": 200, "json": {"redirect": "studiox://connected?session_id=1&status=failed"}}
URL = "https://project.supabase.co/functions/v1/connect-callback?state=planted&error=access_denied"
BASE = {"SUPABASE_URL": "https://project.supabase.co/"}


def test_every_form_of_the_secret_key(driver: Driver) -> None:
    legacy = "eyJhbGciOiJIUzI1NiJ9.e30.x"
    environments = [
        (
            {"SUPABASE_SECRET_KEYS": json.dumps({"other": "o", "default": "d"}), "SUPABASE_SERVICE_ROLE_KEY": legacy},
            "d",
        ),
        ({"SUPABASE_SECRET_KEYS": json.dumps({"other": "o"})}, "o"),
        ({"SUPABASE_SECRET_KEYS": "not json", "SUPABASE_SECRET_KEY": "s"}, "s"),
        ({"SUPABASE_SECRET_KEYS": "{}", "SUPABASE_SERVICE_ROLE_KEY": legacy}, legacy),
    ]
    answers = driver([{"url": URL, "env": BASE | env, "answers": [FINE]} for env, _ in environments])
    for answer, (_, key) in zip(answers, environments, strict=True):
        (call,) = answer["calls"]
        assert call["url"] == "https://project.supabase.co/rest/v1/rpc/connect_callback"
        assert call["headers"]["apikey"] == key
        # Only a JWT is one.
        assert call["headers"].get("authorization") == (f"Bearer {legacy}" if key == legacy else None)
        assert call["headers"]["content-profile"] == "orbyt"
        assert call["body"] == {
            "state_hash": state_hash("planted"),
            "sealed_code": None,
            "key_id": None,
            "error": "access_denied",
        }


def test_the_log_says_what_became_of_it_and_no_text_from_elsewhere(driver: Driver) -> None:
    env = BASE | {"SUPABASE_SECRET_KEY": SECRET_KEY}
    codes = {"connect_denied": "connect_denied", None: None, "planted <text>": None, 7: None}
    bodies = [{"redirect": "studiox://connected", "status": "failed", "code": code} for code in codes]
    answers = driver([{"url": URL, "env": env, "answers": [{"status": 200, "json": body}]} for body in bodies])
    for answer, said in zip(answers, codes.values(), strict=True):
        assert answer["log"] == [{"event": "connect.came_back", "status": "failed", "code": said}]


async def test_the_workers_log_says_the_same(ready: Database, doors: dict[str, Door]) -> None:
    begun = await begin(ready)
    with structlog.testing.capture_logs() as logs:
        await doors["worker"].visit(f"state={begun.state}&error=access_denied")
        await doors["worker"].visit(f"state={begun.state}&error=access_denied")
        await doors["worker"].visit("state=unknown&code=abc")
    assert [(line["status"], line["code"]) for line in logs if line["event"] == "connect.came_back"] == [
        ("failed", "connect_denied"),
        ("failed", "connect_state_used"),
        ("failed", "connect_state_unknown"),
    ]
    assert begun.state not in str(logs)


def test_a_database_that_is_away(driver: Driver) -> None:
    link = {"ORBYT_CONNECT_RETURN_TO": " studiox://back , https://other.example "}
    env = BASE | {"SUPABASE_SECRET_KEY": SECRET_KEY}
    away = {"status": 503, "json": {"message": "planted"}}
    silent = {"fails": True}
    html = {"status": 200, "text": "<html>planted"}
    refused = {"status": 401, "json": {"message": "planted"}}
    answers = driver(
        [
            {"url": URL, "env": env | link, "answers": [away, FINE]},
            {"url": URL, "env": env | link, "answers": [silent, FINE]},
            {"url": URL, "env": env | link, "answers": [html, FINE]},
            {"url": URL, "env": env | link, "answers": [away, silent]},
            {"url": URL, "env": env | link, "answers": [refused]},
            {"url": URL, "env": env, "answers": [away, away]},
            *(
                {"url": URL, "env": env | link, "answers": [{"status": 200, "json": body}]}
                for body in (None, 7, {}, {"redirect": None}, {"redirect": "a b"}, {"redirect": "x\r\ny: z"})
            ),
        ]
    )
    # Asked again once; the second answer counts.
    for answer in answers[:3]:
        assert (answer["status"], answer["headers"]["location"]) == (303, FINE["json"]["redirect"])  # type: ignore[index]
        assert len(answer["calls"]) == 2
    for answer in (answers[3], answers[4], *answers[6:]):
        assert (answer["status"], answer["headers"]["location"]) == (303, "studiox://back?status=failed")
    # A refusal is not asked again.
    assert [len(answer["calls"]) for answer in answers[3:5]] == [2, 1]
    assert (answers[5]["status"], answers[5]["headers"]["retry-after"]) == (503, "30")
    assert answers[5]["headers"]["content-type"] == "application/json"
    assert json.loads(answers[5]["text"]) == {"error": "database_unavailable"}


BROKEN_KEYS: list[Any] = [
    {"kty": "RSA", "n": "!", "e": "AQAB"},
    {"kty": "EC", "n": "AQAB", "e": "AQAB"},
    {"kty": "RSA", "e": "AQAB"},
    {"kty": "RSA", "n": 7, "e": "AQAB"},
    {},
    None,
    [],
]


def test_an_answer_that_is_no_key(driver: Driver) -> None:
    env = BASE | {"SUPABASE_SECRET_KEY": SECRET_KEY, "ORBYT_CONNECT_RETURN_TO": "studiox://back"}
    url = URL.replace("error=access_denied", "code=planted")
    bodies = [7, "", [], {"key_id": "k"}, *({"key_id": "k", "jwk": each} for each in BROKEN_KEYS)]
    answers = driver([{"url": url, "env": env, "answers": [{"status": 200, "json": body}, FINE]} for body in bodies])
    for answer in answers:
        assert (answer["status"], answer["headers"]["location"]) == (303, FINE["json"]["redirect"])  # type: ignore[index]
        sent = answer["calls"][-1]["body"]
        assert (sent["error"], sent["sealed_code"], sent["key_id"]) == ("platform_error", None, None)


def test_what_one_side_seals_the_other_opens(driver: Driver, private_key: PrivateKey) -> None:
    hashed = state_hash("a state")
    jwk = private_key.public_jwk("k1")
    codes = ["x", CODE, "x" * 4096]
    der = base64.b64encode(private_key.der()).decode()
    sealed_here = [seal(code, jwk=jwk, state_hash=hashed) for code in codes]
    answers = driver(
        [
            *({"seal": code, "key": {"key_id": "k1", "jwk": jwk}, "state_hash": hashed} for code in codes),
            *({"open": sealed, "der": der, "state_hash": hashed} for sealed in sealed_here),
        ]
    )
    for code, answer in zip(codes, answers[: len(codes)], strict=True):
        sealed = base64.b64decode(answer["sealed"], validate=True)
        assert private_key.open(sealed, state_hash=hashed) == code
        with pytest.raises(Failure):
            private_key.open(sealed, state_hash=state_hash("another"))
    assert [answer["opened"] for answer in answers[len(codes) :]] == codes


# As hosted Supabase will take it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["check"], ["lint"], ["fmt", "--check"]], ids=" ".join)
def test_the_function_is_sound(deno: str, tmp_path: Path, arguments: list[str]) -> None:
    done = subprocess.run(
        [
            deno,
            *arguments,
            "--quiet",
            str(FUNCTIONS / "connect-callback"),
            str(Path(__file__).with_name("edge_driver.ts")),
        ],
        env=deno_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_imported_from_elsewhere() -> None:
    """It is deployed, and runs, without a registry."""
    files = sorted(FUNCTIONS.rglob("*.ts"))
    assert len(files) >= 4
    for file in files:
        for line in file.read_text("utf-8").splitlines():
            if line.startswith(("import ", "} from ", "export * from")):
                assert ' from "./' in line, f"{file.name}: {line}"
    assert (FUNCTIONS / "connect-callback" / "index.ts").read_text("utf-8").count("\n") <= 4
