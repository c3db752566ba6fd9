"""Every attack on connecting as a table: what is tried, at which moment, and the code it is answered with. Nothing is changed by any."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from orbyt_worker.callback_crypto import PrivateKey, seal
from orbyt_worker.errors.failure import Failure
from tests.db.connecting import (
    CALLBACK_KEY,
    OTHER_RETURN_TO,
    RETURN_TO,
    Begun,
    begin,
    candidate,
    claim,
    come_back,
    create_worker,
    finish,
    grant,
    offer,
    session,
    set_up,
)
from tests.db.test_app_access import code_of
from tests.factories import create_user
from tests.fix_postgres import Database


@pytest.fixture(autouse=True)
async def configured(db: Database) -> None:
    await set_up(db)


async def answer_to(db: Database, call: Awaitable[Any]) -> str:
    """The code of a refusal, the code of a callback, or ok."""
    try:
        answer = await call
    except psycopg.Error as error:
        return await code_of(db, error)
    return str(answer["code"]) if isinstance(answer, dict) and answer.get("code") else "ok"


async def everything(db: Database) -> list[Any]:
    """All rows that connecting writes."""
    tables = ("orbyt.connect_sessions", "orbyt_private.connect_flows", "orbyt_private.connect_grants", "orbyt.accounts")
    return [await db.fetch(f"select * from {table} t order by t".encode()) for table in tables]


# The return link ---------------------------------------------------------------------------------------------------------------

WEB = "https://app.example.com/done?from=orbyt"  # what OTHER_RETURN_TO is
TAMPERED = {
    "prefix": ["x" + RETURN_TO, "https://evil.example.com/" + WEB, "evil" + RETURN_TO, " " + WEB, "//" + WEB],
    "suffix": [
        *(
            RETURN_TO + end
            for end in ("/", ".", "x", "?x=1", "#x", "%20", "%0d%0aLocation:%20https://evil.example.com")
        ),
        *(WEB + end for end in ("&x=1", "#", "/../evil", " ")),
    ],
    "shortened": [RETURN_TO[:-1], "studiox://", "studiox:", "https://app.example.com", WEB.split("?", maxsplit=1)[0]],
    "case": [RETURN_TO.upper(), "StudioX://connected", WEB.replace("done", "Done"), WEB.replace("app.", "APP.")],
    "userinfo": [WEB.replace("app.", "app.example.com@evil."), WEB.replace("://", "://user:pw@")],
    "host": [WEB.replace(".com", ".com."), WEB.replace(".com/", ".com:443/"), WEB.replace("/done", "\\@evil.com/done")],
    "encoded": [
        "studiox://connecte%64",
        "studiox%3A//connected",
        WEB.replace("done", "%64one"),
        WEB.replace("=", "%3D"),
    ],
    "control": [RETURN_TO + "\n", RETURN_TO + "\r\nLocation: https://evil.example.com", "\t" + WEB, WEB + "\x7f"],
    # A Cyrillic o, a letter with a combining mark, what is not seen, what turns the text around, full width.
    "unicode": [
        "studi\u043ex://connected",
        "studiox://connected\u0301",
        *(RETURN_TO + mark for mark in ("\u200b", "\u2060", "\ufeff", "\u202e")),
        "studiox\uff1a//connected",
    ],
    "scheme": ["javascript:alert(1)//" + RETURN_TO, "data:text/html,x", "http" + WEB.removeprefix("https"), "intent:x"],
    "nothing": ["", " ", "null", "[]", '["studiox://connected"]'],
}


async def test_a_return_link_is_one_of_the_list_to_the_letter(db: Database) -> None:
    assert WEB == OTHER_RETURN_TO
    user_id = await create_user(db)
    tampered = [link for links in TAMPERED.values() for link in links]
    # One request after the other in one connection, each with its own fate.
    async with db.as_user(user_id) as app:

        async def ask(link: str) -> None:
            async with app.transaction():
                await app.execute("select orbyt.begin_connect('youtube', %s)", [link])

        answers = {link: await answer_to(db, ask(link)) for link in tampered}
    assert answers == dict.fromkeys(tampered, "return_to_not_allowed")
    assert await everything(db) == [[], [], [], []]
    await begin(db, user_id, return_to=WEB)


async def test_a_null_byte_reaches_no_function(db: Database) -> None:
    """As PostgREST would pass it on: JSON that Postgres refuses to make a text of."""
    user_id = await create_user(db)
    async with db.as_user(user_id) as app:
        with pytest.raises(psycopg.errors.UntranslatableCharacter):
            await app.execute(
                "select orbyt.begin_connect('youtube', x.return_to) from json_to_record(%s) as x (return_to text)",
                ['{"return_to": "studiox://connected\\u0000"}'],
            )
    assert await everything(db) == [[], [], [], []]


# A flood -----------------------------------------------------------------------------------------------------------------------


async def test_a_flood_gets_five_sessions_one_after_the_other_or_at_once(db: Database) -> None:
    one, many, neighbour = [await create_user(db) for _ in range(3)]
    serial = [await answer_to(db, begin(db, one)) for _ in range(12)]
    assert serial == ["ok"] * 5 + ["connect_too_many"] * 7
    at_once = await asyncio.gather(*(answer_to(db, begin(db, many)) for _ in range(20)))
    assert sorted(at_once) == ["connect_too_many"] * 15 + ["ok"] * 5
    assert await answer_to(db, begin(db, neighbour)) == "ok"
    assert await db.value("select count(*) from orbyt_private.connect_flows") == 11, "nothing is left of those refused"


async def test_whoever_ends_each_at_once_does_not_get_any_number_either(db: Database) -> None:
    """Every session is a row that stays for weeks, and a state that comes back with a no makes room for the next."""
    user_id, neighbour = await create_user(db), await create_user(db)
    for _ in range(30):
        begun = await begin(db, user_id)
        await come_back(db, begun.state_hash, error="access_denied")
    assert await answer_to(db, begin(db, user_id)) == "connect_too_many"
    assert await answer_to(db, begin(db, neighbour)) == "ok"
    await db.execute("update orbyt.connect_sessions set created_at = created_at - interval '10 minutes'")
    assert await answer_to(db, begin(db, user_id)) == "ok"


# What can be tried at which moment ----------------------------------------------------------------------------------------------

STATUSES = ("started", "exchanging", "claimed", "choose", "connected", "failed", "expired")


async def reach(db: Database, user_id: UUID, status: str) -> tuple[Begun, dict[str, Any] | None]:
    """A session at that point of its life, and what the worker holds of it. Offers a (usable) and b (not)."""
    begun = await begin(db, user_id, "facebook")
    if status == "started":
        return begun, None
    if status == "expired":
        await db.execute("update orbyt.connect_sessions set expires_at = now() - interval '1 hour'")
        await db.value("select orbyt_private.expire_connects()")
        return begun, None
    await come_back(db, begun.state_hash, error="access_denied" if status == "failed" else None)
    if status in ("exchanging", "failed"):
        return begun, None
    (claimed,) = await claim(db, await create_worker(db))
    if status == "claimed":
        return begun, claimed
    await offer(
        db, claimed, [candidate("a"), candidate("b", code="connect_role_missing")], [grant("a", login="facebook")]
    )
    if status == "connected":
        await finish(db, user_id, begun.session_id, ["a"])
    return begun, claimed


# By status: owner chooses a; chooses what is not usable; what is not there; the state comes back with another code.
CODES: dict[str, tuple[str, str, str, str]] = {
    "started": ("connect_session_not_choosable",) * 3 + ("ok",),
    "exchanging": ("connect_session_not_choosable",) * 3 + ("connect_state_used",),
    "claimed": ("connect_session_not_choosable",) * 3 + ("connect_state_used",),
    "choose": ("ok", "connect_candidate_unusable", "connect_candidate_unknown", "connect_state_used"),
    "connected": ("ok", "connect_session_not_choosable", "connect_session_not_choosable", "connect_state_used"),
    "failed": ("connect_session_not_choosable",) * 3 + ("connect_state_used",),
    "expired": ("connect_expired",) * 3 + ("connect_expired",),
}
# The same after its time has run out, before upkeep has noticed.
OVERDUE = {
    **CODES,
    **dict.fromkeys(("started",), ("connect_expired",) * 4),
    **dict.fromkeys(("exchanging", "claimed", "choose"), ("connect_expired",) * 3 + ("connect_state_used",)),
}


@pytest.mark.parametrize("overdue", [False, True], ids=["in_time", "overdue"])
@pytest.mark.parametrize("status", STATUSES)
async def test_what_is_refused_at_every_moment(db: Database, status: str, overdue: bool) -> None:
    owner, stranger = await create_user(db), await create_user(db)
    begun, claimed = await reach(db, owner, status)
    if overdue:
        await db.execute("update orbyt.connect_sessions set expires_at = now() - interval '1 second'")
    a, unusable, unknown, again = (OVERDUE if overdue else CODES)[status]
    sid = begun.session_id
    tries: list[tuple[str, Callable[[], Awaitable[Any]], str]] = [
        ("a stranger chooses", lambda: finish(db, stranger, sid, ["a"]), "connect_session_not_found"),
        ("the unusable one", lambda: finish(db, owner, sid, ["b"]), unusable),
        ("one that is not there", lambda: finish(db, owner, sid, ["c"]), unknown),
        ("one and one that is not there", lambda: finish(db, owner, sid, ["a", "c"]), unknown),
        ("nothing", lambda: finish(db, owner, sid, []), unknown),
    ]
    if a != "ok":
        tries.append(("a", lambda: finish(db, owner, sid, ["a"]), a))
    if again != "ok" and not (status == "started" and overdue):
        tries.append(("the state, another code", lambda: come_back(db, begun.state_hash, code="mine"), again))
        tries.append(("the state, a no", lambda: come_back(db, begun.state_hash, error="access_denied"), again))
    before = await everything(db)
    for name, call, code in tries:
        assert await answer_to(db, call()) == code, name
        assert await everything(db) == before, f"{name}: changed something"
    if again != "ok" and status == "started":
        # This one writes down that it is over.
        assert await answer_to(db, come_back(db, begun.state_hash)) == again
        assert (await session(db, sid))["status"] == "expired"
    elif a == "ok":
        # And twice is once.
        first = await finish(db, owner, sid, ["a"])
        assert await finish(db, owner, sid, ["a"]) == first
        assert await db.value("select count(*) from orbyt.accounts") == 1
    if claimed is not None and status != "claimed":
        assert await offer(db, claimed, [candidate("c")], [grant("c")], auto=["c"]) == "stale"


# A code in the wrong session ----------------------------------------------------------------------------------------------------


async def test_a_code_sealed_on_one_way_back_does_not_open_on_another(db: Database) -> None:
    """Whoever gets hold of a victim's sealed code and says it came with their own state has a code nobody can open."""
    private = PrivateKey.generate()
    jwk = private.public_jwk("real")
    await db.execute(
        "update orbyt_private.callback_keys set key_id = 'real', public_jwk = %s where key_id = %s",
        [Jsonb(jwk), CALLBACK_KEY],
    )
    victim, attacker = await begin(db, await create_user(db)), await begin(db, await create_user(db))
    sealed = seal("the victim's code", jwk=jwk, state_hash=victim.state_hash)
    said = "select orbyt.connect_callback(state_hash => %s, sealed_code => %s, key_id => 'real')"
    async with db.as_service_role() as door:
        await door.execute(said, [attacker.state_hash, sealed])
        await door.execute(said, [victim.state_hash, sealed])
    theirs, mine = sorted(
        await claim(db, await create_worker(db)), key=lambda row: row["session_id"] == attacker.session_id
    )
    assert (theirs["session_id"], mine["session_id"]) == (victim.session_id, attacker.session_id)
    assert base64.b64decode(sealed) == bytes(mine["sealed_code"]) == bytes(theirs["sealed_code"])
    with pytest.raises(Failure):
        private.open(bytes(mine["sealed_code"]), state_hash=mine["state_hash"])
    assert private.open(bytes(theirs["sealed_code"]), state_hash=theirs["state_hash"]) == "the victim's code"


async def test_neither_session_id_nor_challenge_nor_hash_is_as_good_as_the_state(db: Database) -> None:
    begun = await begin(db, await create_user(db))
    stored = await db.row("select * from orbyt_private.connect_flows")
    before = await everything(db)
    for known in (str(begun.session_id), begun.query["code_challenge"], stored["code_verifier"], begun.state_hash):
        guess = hashlib.sha256(known.encode()).hexdigest()
        assert await answer_to(db, come_back(db, guess)) == "connect_state_unknown"
    assert await everything(db) == before
