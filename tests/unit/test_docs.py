"""The documentation names what exists, its links lead somewhere, and its commands can be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperCommand, TyperGroup, TyperOption

from orbyt_worker.cli import main
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.health import Health
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md"), *(ROOT / "sql").rglob("*.md")])
DECISIONS = sorted(path.name for path in (DOCS / "decisions").glob("[0-9]*.md"))
MIGRATIONS = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "supabase" / "migrations").glob("*.sql")))

DATABASE = (DOCS / "reference" / "database.md").read_text("utf-8")
COMMANDS = (DOCS / "reference" / "commands.md").read_text("utf-8")
OPERATING = (DOCS / "operating.md").read_text("utf-8")

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
ANCHOR = re.compile(r'<a id="([^"]+)">')


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def commands(group: TyperGroup, path: tuple[str, ...]) -> Iterator[tuple[str, TyperCommand]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, TyperGroup):
            yield from commands(command, (*path, name))
        else:
            assert isinstance(command, TyperCommand)
            yield " ".join((*path, name)), command


def all_commands() -> dict[str, TyperCommand]:
    group = typer.main.get_command(main)
    assert isinstance(group, TyperGroup)
    return dict(commands(group, ("orbyt-worker",)))


def section_of(text: str, name: str) -> str:
    """The part of a page under the heading that names the command, or its group."""
    heading = next(each for each in (f"## `{name}`", f"## `{name.rsplit(' ', 1)[0]}`") if each in text)
    return text.split(heading, 1)[1].split("\n## ", 1)[0]


# Everything that exists is named -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(all_commands()))
def test_every_command_and_option_is_documented(name: str) -> None:
    section = section_of(COMMANDS, name)
    assert name in COMMANDS
    shared = COMMANDS.split("\n## ", 1)[0]
    for parameter in all_commands()[name].params:
        if isinstance(parameter, TyperOption):
            option = max(parameter.opts, key=len)
            assert f"`{option}" in section or f"`{option}" in shared, f"{name} {option}"


def test_every_documented_command_exists() -> None:
    groups = {"orbyt-worker", "orbyt-worker jobs", "orbyt-worker keys", "orbyt-worker accounts"}
    known = set(all_commands()) | groups
    for page in PAGES:
        for found in re.findall(r"`(orbyt-worker(?: [a-z]+)*)", page.read_text("utf-8")):
            assert found in known, f"{name_of(page)}: {found}"


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented(name: str) -> None:
    assert f"`ORBYT_{name.upper()}`" in (DOCS / "reference" / "settings.md").read_text("utf-8")


def test_every_documented_setting_exists() -> None:
    # Those of the development tools are not the worker's.
    tools = {"ORBYT_ADMIN_DATABASE_URL", "ORBYT_SANDBOX_PG_BIN", "ORBYT_SANDBOX_PG_USER", "ORBYT_TEST_PG"}
    tools |= {"ORBYT_SCREENSHOTS", "ORBYT_TEST_BROWSER"}
    known = {f"ORBYT_{name.upper()}" for name in Settings.model_fields} | tools
    for page in PAGES:
        for found in re.findall(r"\bORBYT_[A-Z_]+[A-Z]\b", page.read_text("utf-8")):
            assert found in known, f"{name_of(page)}: {found}"


def test_every_error_code_is_documented() -> None:
    text = (DOCS / "reference" / "errors.md").read_text("utf-8")
    assert [code for code in ErrorCode if f'<a id="{code}"></a>' not in text] == []


def test_every_table_view_rpc_and_type_of_the_exposed_schema_is_documented() -> None:
    tables = re.findall(r"^create (?:table|view|type) (orbyt\.\w+)", MIGRATIONS, re.MULTILINE)
    functions = re.findall(r"^create (?:or replace )?function (orbyt\.\w+)\(", MIGRATIONS, re.MULTILINE)
    assert len(tables) >= 12
    assert len(functions) >= 4
    assert [name for name in (*tables, *functions) if f"`{name}`" not in DATABASE] == []


def test_every_column_of_the_exposed_schema_is_documented() -> None:
    columns = re.findall(r"^comment on column (orbyt\.\w+)\.(\w+) is", MIGRATIONS, re.MULTILINE)
    assert len(columns) > 90
    missing = []
    for owner, column in columns:
        section = DATABASE.split(f"### `{owner}`", 1)[1].split("\n### ", 1)[0]
        if f"| `{column}` |" not in section:
            missing.append(f"{owner}.{column}")
    assert missing == []


def test_every_private_table_and_view_is_documented() -> None:
    names = re.findall(r"^create (?:table|view) (orbyt_private\.\w+)", MIGRATIONS, re.MULTILINE)
    assert [name for name in names if f"`{name}`" not in DATABASE] == []


def test_every_function_of_the_workers_role_is_documented() -> None:
    (granted,) = re.findall(
        r"^grant execute on function\n(.*?)\n  to orbyt_worker;", MIGRATIONS, re.MULTILINE | re.DOTALL
    )
    names = re.findall(r"orbyt_private\.(\w+)\(", granted)
    assert len(names) > 30
    section = DATABASE.split("## The worker's functions", 1)[1].split("\n## ", 1)[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted(names)


def test_every_event_of_a_job_is_documented() -> None:
    body = MIGRATIONS
    events = set(re.findall(r"add_event\(\s*\w+, '(\w+)'", body))
    events |= set(re.findall(r"add_event\(\s*\w+, case when p_counts then '(\w+)' else '(\w+)' end", body)[0])
    events |= set(re.findall(r"select \w\.job_id, \w\.user_id, '(\w+)'", body))
    section = DATABASE.split("### `orbyt.job_events`", 1)[1].split("\n### ", 1)[0]
    table = section.split("| `event` | Written when |", 1)[1]
    documented = {
        name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert events == documented


def test_every_database_setting_is_documented() -> None:
    names = set(re.findall(r"orbyt_private\.setting\('(\w+)'\)", MIGRATIONS))
    (inserted,) = re.findall(
        r"insert into orbyt_private\.settings \(name, value\) values\n(.*?)\non conflict", MIGRATIONS, re.DOTALL
    )
    names |= set(re.findall(r"\('(\w+)',", inserted))
    section = DATABASE.split("## Database settings", 1)[1].split("\n## ", 1)[0]
    assert [name for name in sorted(names) if f"`{name}`" not in section] == []


def test_every_metric_is_documented() -> None:
    names = set()
    for family in Health(Runtime()).registry.collect():
        if family.name.startswith("orbyt_"):
            names.add(f"{family.name}_total" if family.type == "counter" else family.name)
    assert len(names) >= 12
    assert [name for name in sorted(names) if f"`{name}`" not in OPERATING] == []
    for page in PAGES:
        for found in re.findall(r"`(orbyt_[a-z_]+?)(?:\{[^`]*)?`", page.read_text("utf-8")):
            if found.endswith(("_total", "_seconds", "_up", "_in_flight", "_left")):
                assert found in names, f"{name_of(page)}: {found}"


def test_every_saved_query_is_in_the_index() -> None:
    index = (ROOT / "sql" / "README.md").read_text("utf-8")
    files = [path.relative_to(ROOT / "sql").as_posix() for path in (ROOT / "sql").rglob("*.sql")]
    assert [file for file in files if f"({file})" not in index] == []


def typed_lines(page: Path) -> Iterator[str]:
    """Everything a reader may type that begins with `orbyt-worker`: lines of a fence, and `code` in the text.

    In the text a command may stand without its arguments, where it is only named.
    """
    text = page.read_text("utf-8")
    for fence in FENCE.findall(text):
        for line in fence.splitlines()[1:-1]:
            found = re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ +)*(?:\.venv/bin/)?(orbyt-worker(?: .*)?)$", line)
            if found:
                yield found[1].split("  #")[0].strip()
    named = set(all_commands())
    for found in re.findall(r"`((?:orbyt-worker|accounts|jobs|keys)(?: [a-z][^`]*)?)`", FENCE.sub("", text)):
        line = found if found.startswith("orbyt-worker") else f"orbyt-worker {found}"
        if line not in named:
            yield line
    for command, arguments in re.findall(r"make (sandbox|demo) ARGS=\"([^\"]*)\"", text):
        yield f"orbyt-worker {command} {arguments}"


def test_every_command_line_of_the_docs_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORBYT_ADMIN_DATABASE_URL", "postgresql://postgres@localhost/postgres")
    known, seen = all_commands(), 0
    groups = {"orbyt-worker"} | {name.rsplit(" ", 1)[0] for name in known}
    for page in PAGES:
        for line in typed_lines(page):
            # What a reader replaces: `<account id>`, `ACCOUNT_ID…`.
            words = shlex.split(re.sub(r"<[^>]+>|\b[A-Z]+_ID\b…?", "00000000-0000-0000-0000-000000000000", line))
            name = " ".join(words)
            if name in groups or words[1:] == ["00000000-0000-0000-0000-000000000000"]:
                continue
            name = next((" ".join(words[:count]) for count in (3, 2) if " ".join(words[:count]) in known), "")
            assert name, f"{name_of(page)}: {line}"
            try:
                known[name].make_context(name, words[len(name.split()) :])
            except Exception as error:
                error.add_note(f"{name_of(page)}: {line}")
                raise
            seen += 1
    assert seen > 10


# Links, commands, numbers --------------------------------------------------------------------------------------------------


def anchors_of(text: str) -> set[str]:
    """The anchors of a page as GitHub makes them, and those set by hand."""
    found: dict[str, int] = {}
    anchors = set(ANCHOR.findall(text))
    for heading in HEADING.findall(FENCE.sub("", text)):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        count = found.get(slug, 0)
        found[slug] = count + 1
        anchors.add(f"{slug}-{count}" if count else slug)
    return anchors


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if (
            not file.is_file()
            or not file.is_relative_to(ROOT)
            or (anchor and anchor not in anchors_of(file.read_text("utf-8")))
        ):
            broken.append(target)
    assert broken == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached or page.suffix != ".md" or not page.is_file():
            continue
        reached.add(page)
        for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
            path = target.partition("#")[0]
            if path and not re.match(r"[a-z]+:", target):
                todo.append((page.parent / path).resolve())
    assert [name_of(page) for page in PAGES if page not in reached] == []


def test_make_targets_in_the_docs_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {"demo", "test"} <= set(
        re.findall(r"^make ([a-z-]+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    )
    for page in PAGES:
        text = page.read_text("utf-8")
        for found in re.findall(r"`make ([a-z-]+)", text) + re.findall(r"^make ([a-z-]+)", text, re.MULTILINE):
            assert found in targets, f"{name_of(page)}: make {found}"


def test_files_named_in_the_docs_exist() -> None:
    places = (ROOT, ROOT / "orbyt_worker", ROOT / "supabase")
    for page in PAGES:
        for found in re.findall(r"`([\w./-]+/[\w-]+\.(?:py|sql|toml|ts))`", page.read_text("utf-8")):
            assert any((place / found).is_file() for place in places), f"{name_of(page)}: {found}"


def test_decisions_are_numbered_without_gaps_and_listed() -> None:
    assert [int(name[:4]) for name in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    index = (DOCS / "decisions" / "README.md").read_text("utf-8")
    assert re.findall(r"\((\d{4}-[a-z0-9-]+\.md)\)", index) == DECISIONS


@pytest.mark.parametrize("name", DECISIONS)
def test_each_decision_says_the_same_things(name: str) -> None:
    text = (DOCS / "decisions" / name).read_text("utf-8")
    assert text.startswith(f"# {name[:4]}: ")
    headings = HEADING.findall(text)[1:]
    assert headings[:2] == ["Context", "Decision"]
    assert headings[-1] == "Consequences"
    assert re.search(r"^(Accepted|Superseded by \[\d{4}\]\(.+\)), \w+ \d{4}\.$", text, re.MULTILINE)
