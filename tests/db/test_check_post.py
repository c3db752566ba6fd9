"""The pre-flight and the insert give the same answer, whatever is sent: `check_post` foretells the refusal, with its field.

Posts are drawn at random over everything a row can say, on every platform and for accounts in every state; each is asked first and
then inserted. The first blocking problem is what the insert is refused with; without one the row is there.
"""

from __future__ import annotations

import json
import random
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from tests.factories import VIDEO, create_account, create_user
from tests.fix_postgres import Connection, Database
from tests.platforms.cases import PLATFORMS, load_cases

CHECK = (
    "select orbyt.check_post(account_id => %(account_id)s, kind => %(kind)s, title => %(title)s, caption => %(caption)s, "
    "media => %(media)s, options => %(options)s, publish_at => %(publish_at)s, expires_at => %(expires_at)s) as problems"
)
INSERT = (
    "insert into orbyt.publish_jobs (account_id, kind, title, caption, media, options, publish_at, expires_at) values "
    "(%(account_id)s, %(kind)s, %(title)s, %(caption)s, %(media)s, %(options)s, %(publish_at)s, %(expires_at)s) returning status"
)
# A path into the row, as a form finds its input by it.
FIELD = re.compile(
    r"account_id|kind|title|caption|publish_at|expires_at|media(\[\d+\](\.\w+)?)?|options(\.[^.\[\]]+(\[\d+\](\.\w+)?)?)?"
)
HEALTH = ("active", "needs_reauth", "disconnected", "somebody else's", "none")
NOW = datetime.now(UTC)


@pytest.fixture
async def accounts(db: Database) -> dict[tuple[str, str], UUID]:
    """By platform and health. The user is the first one's owner."""
    user_id, other = await create_user(db), await create_user(db)
    found: dict[tuple[str, str], UUID] = {("", "user"): user_id}
    for platform in PLATFORMS:
        for health in ("active", "needs_reauth", "disconnected"):
            code = "account_needs_reauth" if health == "needs_reauth" else None
            found[platform, health] = await create_account(db, user_id, platform, status=health, error_code=code)
        found[platform, "somebody else's"] = await create_account(db, other, platform)
        found[platform, "none"] = UUID(int=7)
    return found


async def both(app: Connection, values: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any] | None, str]:
    """(problems foretold, details of the refusal or None, status of the row). Nothing stays."""
    sent = {**values, "media": Jsonb(values["media"]), "options": Jsonb(values["options"])}
    for name in ("media", "options"):
        if values[name] is None:
            sent[name] = None  # SQL's null, as for a key that is left out of a bulk insert
    async with app.transaction(force_rollback=True):
        row = await (await app.execute(CHECK, sent)).fetchone()
    assert row is not None
    try:
        async with app.transaction(force_rollback=True):
            inserted = await (await app.execute(INSERT, sent)).fetchone()
            assert inserted is not None
            return row["problems"], None, inserted["status"]
    except psycopg.Error as error:
        refused = error
    assert (refused.sqlstate or "").startswith("OR"), f"{refused.sqlstate} {refused}"
    assert refused.diag.message_hint
    return row["problems"], json.loads(refused.diag.message_detail or "{}"), ""


def agree(problems: list[dict[str, Any]], refusal: dict[str, Any] | None, status: str) -> None:
    blocking = [each for each in problems if each["blocking"]]
    if refusal is None:
        assert blocking == [], "the insert was accepted"
        assert status == ("held" if problems else "queued")
        assert [each["code"] for each in problems] in ([], ["account_needs_reauth"])
    else:
        assert blocking, f"not foretold: {refusal}"
        assert (blocking[0]["code"], blocking[0]["field"]) == (refusal["code"], refusal["field"])
        assert (blocking[0]["detail"] or None) == (refusal.get("detail") or None)
    for each in problems:
        assert set(each) == {"code", "field", "detail", "blocking", "title", "what_happened", "what_to_do", "action"}
        # A key nobody knows is named as it is.
        assert FIELD.fullmatch(each["field"]) or each["code"] in ("option_unknown", "media_invalid"), each["field"]
        assert each["title"], each["code"]
        assert each["what_to_do"], each["code"]


# Drawn -----------------------------------------------------------------------------------------------------------------------------

TEXTS = [
    "",
    " ",
    "A title",
    "a<b",
    "x" * 101,
    "y" * 2201,
    "z" * 5001,
    "line\nbreak",
    "bell\x07",
    "\u3000",
    "\U0001f600" * 60,
    "#a " * 31,
]
URLS = [
    *("https://example.com/v.mp4", "http://example.com/v.mp4", "HTTPS://EXAMPLE.COM/v", "ftp://example.com/v", "", "x", "mux://abcdefgh"),
    *("mux://a b", "storage://videos/none.mp4", "storage://videos/../x", "storage://videos/%ff", "https://10.0.0.1/v", "https://[::1]/v"),
    *("https://localhost/v", "https://u:p@example.com/v", "https://2130706433/v", "https://stream.mux.com/abcdefgh.m3u8", "https://"),
    *("http://127.0.0.1/v", "http://localhost:1/v", "https://example.com/" + "x" * 4090, "javascript:alert(1)", "https://exämple.com/v"),
]  # fmt: skip
TIMES = [
    *(None, NOW, NOW - timedelta(days=3), NOW + timedelta(days=3), NOW + timedelta(days=399), NOW + timedelta(days=401)),
    *(datetime(1999, 1, 1, tzinfo=UTC), "infinity", "-infinity", "294276-12-31 23:59:59+00", "4713-01-01 00:00:00+00 BC"),
    *("2899-12-31 12:00:00+00", "2950-01-01 00:00:00+00"),
]  # fmt: skip

scalars = st.one_of(st.none(), st.booleans(), st.integers(-5, 10**10), st.floats(-2, 2), st.sampled_from(TEXTS))
items: st.SearchStrategy[Any] = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["image", "video", "gif", None, 1]), "url": st.one_of(st.sampled_from(URLS), scalars)},
        optional={
            "alt_text": scalars,
            "cover_url": st.one_of(st.sampled_from(URLS), scalars),
            "cover_offset_ms": scalars,
            "size": scalars,
        },
    ),
    st.sampled_from([{"type": "image", "url": "https://example.com/a.jpg"}, VIDEO, {}, None, "x", 1, []]),
)
medias: st.SearchStrategy[Any] = st.one_of(
    st.lists(items, max_size=4),
    st.sampled_from(
        [
            None,
            {},
            "x",
            3,
            [VIDEO],
            [VIDEO] * 11,
            [VIDEO] * 21,
            [{"type": "image", "url": "https://example.com/a.jpg"}] * 3,
        ]
    ),
)
tags: st.SearchStrategy[Any] = st.one_of(
    scalars,
    st.lists(st.one_of(st.sampled_from(["one", "a<b", " ", "x" * 300, "@two.three", "!"]), scalars), max_size=4),
    st.lists(
        st.one_of(
            st.fixed_dictionaries(
                {"username": st.sampled_from(["friend", "!", "", 3])},
                optional={"x": scalars, "y": scalars, "media": scalars, "z": scalars},
            ),
            scalars,
        ),
        max_size=3,
    ),
)
OPTIONS = [
    *("privacy", "tags", "category_id", "made_for_kids", "synthetic_media", "notify_subscribers", "playlist_id", "license"),
    *("embeddable", "captions_url", "captions_language", "captions_name", "share_to_feed", "collaborators", "user_tags"),
    *("location_id", "audio_name", "first_comment", "image_fit", "link", "thumbnail", "unknown", "a.b[0]", ""),
]  # fmt: skip
options: st.SearchStrategy[Any] = st.one_of(
    st.dictionaries(
        st.sampled_from(OPTIONS),
        st.one_of(tags, st.sampled_from(["public", "22", "en", "PL0123456789", "youtube", *URLS[:6]])),
        max_size=3,
    ),
    st.sampled_from([None, [], "x", 1, {}]),
)
posts = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["text", "photo", "carousel", "video", "reel", "story", None]),
        "title": st.one_of(st.none(), st.sampled_from(TEXTS)),
        "caption": st.one_of(st.none(), st.sampled_from(TEXTS)),
        "media": medias,
        "options": options,
        "publish_at": st.one_of(st.none(), st.none(), st.sampled_from(TIMES)),
        "expires_at": st.one_of(st.none(), st.none(), st.sampled_from(TIMES)),
    }
)


def drawn(count: int, of: int) -> list[dict[str, Any]]:
    """Posts from one seed, so that a failure can be made again; half of them are a platform's good post with a change or two."""
    found: list[dict[str, Any]] = []

    @seed(of)
    @settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(posts)
    def collect(post: dict[str, Any]) -> None:
        found.append(post)

    collect()
    return found


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_the_pre_flight_foretells_what_the_insert_says(
    db: Database, accounts: dict[tuple[str, str], UUID], platform: str
) -> None:
    rng = random.Random(20261125)
    good = [case for case in load_cases(platform) if not case.expect]
    accepted = refused = 0
    async with db.as_user(accounts["", "user"]) as app:
        for number, post in enumerate(drawn(400, of=20261125)):
            if number % 2:
                case = rng.choice(good)
                base = {
                    "kind": case.kind,
                    "title": case.title,
                    "caption": case.caption,
                    "media": case.media,
                    "options": case.options,
                    "publish_at": None,
                    "expires_at": None,
                }
                post = base | {name: post[name] for name in rng.sample(sorted(post), k=rng.choice([0, 1, 1, 2]))}
            health = rng.choice(HEALTH) if number % 5 == 0 else "active"
            values = {**post, "account_id": accounts[platform, health]}
            answer = await both(app, values)
            try:
                agree(*answer)
            except AssertionError as error:
                raise AssertionError(f"{health} {platform} account: {post}: {error}; {answer}") from error
            accepted, refused = accepted + (answer[1] is None), refused + (answer[1] is not None)
    assert accepted > 30
    assert refused > 100


# By name ---------------------------------------------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "kind": "video",
    "title": "A title",
    "caption": None,
    "media": [VIDEO],
    "options": {},
    "publish_at": None,
    "expires_at": None,
}
IMAGE = {"type": "image", "url": "https://example.com/a.jpg"}
# (platform, what is changed, the first problem's code and field)
NAMED: list[tuple[str, dict[str, Any], str, str]] = [
    ("youtube", {"title": None}, "title_missing", "title"),
    ("youtube", {"caption": "a<b"}, "caption_invalid", "caption"),
    ("youtube", {"options": {"tags": ["one", "a<b"]}}, "tags_invalid", "options.tags[1]"),
    ("youtube", {"options": {"tags": ["one", "two", 3]}}, "option_invalid", "options.tags[2]"),
    ("youtube", {"options": {"tags": ["x" * 501]}}, "tags_invalid", "options.tags"),
    ("youtube", {"options": {"captions_url": "https://10.0.0.1/x.srt", "captions_language": "en"}}, "media_url_forbidden", "options.captions_url"),
    ("youtube", {"media": [VIDEO, VIDEO]}, "media_count", "media"),
    ("youtube", {"media": [{**VIDEO, "cover_url": "http://example.com/c.jpg"}]}, "media_url_not_https", "media[0].cover_url"),
    ("youtube", {"media": [{**VIDEO, "cover_offset_ms": -1}]}, "media_invalid", "media[0].cover_offset_ms"),
    ("youtube", {"media": None}, "media_missing", "media"),
    ("instagram", {"kind": "carousel", "media": [IMAGE, VIDEO, {**IMAGE, "url": "x"}]}, "media_url_invalid", "media[2].url"),
    ("instagram", {"kind": "carousel", "media": [IMAGE, "x"]}, "media_invalid", "media[1]"),
    ("instagram", {"kind": "photo", "media": [VIDEO]}, "media_type_not_supported", "media[0].type"),
    ("instagram", {"kind": "reel", "options": {"collaborators": ["good", "not good!"]}}, "option_invalid", "options.collaborators[1]"),
    ("instagram", {"kind": "reel", "options": {"user_tags": [{"username": "a"}, {"name": "b"}]}}, "option_invalid", "options.user_tags[1]"),
    ("instagram", {"kind": "text"}, "kind_not_supported", "kind"),
    ("facebook", {"kind": "text", "media": [], "title": None, "options": {"link": "x"}}, "option_invalid", "options.link"),
    ("facebook", {"options": {"lnk": "x"}}, "option_unknown", "options.lnk"),
    ("facebook", {"publish_at": "infinity"}, "publish_at_invalid", "publish_at"),
    ("facebook", {"publish_at": "294276-12-31 23:59:59+00"}, "publish_at_invalid", "publish_at"),
    ("facebook", {"publish_at": NOW, "expires_at": NOW}, "expires_at_invalid", "expires_at"),
    ("facebook", {"publish_at": NOW - timedelta(days=2)}, "expires_at_invalid", "expires_at"),
]  # fmt: skip


async def test_each_problem_names_the_field_a_form_can_mark(
    db: Database, accounts: dict[tuple[str, str], UUID]
) -> None:
    wrong = []
    async with db.as_user(accounts["", "user"]) as app:
        for platform, change, code, field in NAMED:
            answer = await both(app, {**GOOD, **change, "account_id": accounts[platform, "active"]})
            agree(*answer)
            first = (answer[0] or [{"code": None, "field": None}])[0]
            if (first["code"], first["field"]) != (code, field):
                wrong.append((platform, change, first))
    assert wrong == []


@pytest.mark.parametrize(
    ("health", "code", "blocking"),
    [
        ("needs_reauth", "account_needs_reauth", False),
        ("disconnected", "account_disconnected", True),
        ("somebody else's", "account_not_found", True),
        ("none", "account_not_found", True),
    ],
)
async def test_the_health_of_the_account(
    db: Database, accounts: dict[tuple[str, str], UUID], health: str, code: str, blocking: bool
) -> None:
    async with db.as_user(accounts["", "user"]) as app:
        problems, refusal, status = await both(app, {**GOOD, "account_id": accounts["youtube", health]})
    agree(problems, refusal, status)
    assert [(each["code"], each["field"], each["blocking"]) for each in problems] == [(code, "account_id", blocking)]


async def test_a_platform_that_is_switched_off(db: Database, accounts: dict[tuple[str, str], UUID]) -> None:
    await db.execute("update orbyt.platforms set enabled = false where platform = 'youtube'")
    async with db.as_user(accounts["", "user"]) as app:
        answer = await both(app, {**GOOD, "account_id": accounts["youtube", "active"]})
    agree(*answer)
    assert [each["code"] for each in answer[0]] == ["platform_not_configured"]


async def test_the_schedule_window_is_a_setting_and_both_follow_it(
    db: Database, accounts: dict[tuple[str, str], UUID]
) -> None:
    await db.execute("update orbyt_private.settings set value = '10' where name = 'schedule_horizon_days'")
    for days, codes in ((9, []), (11, ["publish_at_invalid"])):
        async with db.as_user(accounts["", "user"]) as app:
            publish_at = NOW + timedelta(days=days)
            answer = await both(app, {**GOOD, "publish_at": publish_at, "account_id": accounts["youtube", "active"]})
        agree(*answer)
        assert [each["code"] for each in answer[0]] == codes


async def test_an_edit_is_refused_like_the_insert(db: Database, accounts: dict[tuple[str, str], UUID]) -> None:
    """The same content in an update of a queued job; what only the insert looks at is the account."""
    async with db.as_user(accounts["", "user"]) as app:
        for platform, change, code, field in NAMED:
            good = load_cases(platform)[0]
            row = await (
                await app.execute(
                    "insert into orbyt.publish_jobs (account_id, kind, title, caption, media, options) values (%s, %s, %s, %s, %s, %s) returning job_id",
                    [accounts[platform, "active"], good.kind, good.title, good.caption, Jsonb(good.media), Jsonb({})],
                )
            ).fetchone()
            assert row is not None
            values = {**GOOD, **change}
            for name in ("media", "options"):
                values[name] = None if values[name] is None else Jsonb(values[name])
            with pytest.raises(psycopg.Error) as refused:
                async with app.transaction():
                    await app.execute(
                        "update orbyt.publish_jobs set kind = %(kind)s, title = %(title)s, caption = %(caption)s, media = %(media)s, "
                        "options = %(options)s, publish_at = %(publish_at)s, expires_at = %(expires_at)s where job_id = %(job_id)s",
                        {**values, "job_id": row["job_id"]},
                    )
            detail = json.loads(refused.value.diag.message_detail or "{}")
            assert (detail.get("code"), detail.get("field")) == (code, field), (platform, change, str(refused.value))
