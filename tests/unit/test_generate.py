"""Generated files: current in the repository, correct in shape, and never a released migration rewritten."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orbyt_worker import generate
from orbyt_worker.errors.catalog import parse
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.generate import (
    CATALOG,
    CODES,
    MIGRATIONS,
    ROOT,
    GenerateError,
    catalog_migration,
    error_files,
    generated,
    main,
    stale,
    write,
)

NOW = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A root that holds the catalog and nothing else."""
    (tmp_path / CATALOG).parent.mkdir(parents=True)
    shutil.copy(ROOT / CATALOG, tmp_path / CATALOG)
    (tmp_path / MIGRATIONS).mkdir(parents=True)
    return tmp_path


def edit(repository: Path, old: str, new: str) -> None:
    path = repository / CATALOG
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def migration(repository: Path) -> tuple[Path, str]:
    return catalog_migration(repository, parse((repository / CATALOG).read_text("utf-8")), NOW)


def test_the_generated_files_of_the_repository_are_current() -> None:
    assert stale(ROOT, generated(ROOT)) == []


def test_check_names_what_is_stale_and_writes_nothing(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], repository) == 0
    assert main(["--check"], repository) == 0
    page = repository / "docs/reference/errors.md"
    page.write_text("old", "utf-8")
    assert main(["--check"], repository) == 1
    assert "docs/reference/errors.md" in capsys.readouterr().err
    assert page.read_text("utf-8") == "old"


def test_stale_codes_are_named_first(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"], repository) == 1
    assert str(CODES) in capsys.readouterr().err


def test_every_code_is_in_every_form() -> None:
    files = {path.suffix: content for path, content in error_files(ROOT).items()}
    for code in ErrorCode:
        assert f"\n  ('{code}', " in files[".sql"]
        assert f'\n  | "{code}"' in files[".ts"]
        assert f"\n  {code}: {{" in files[".ts"]
        assert f'<a id="{code}"></a>' in files[".md"]


def test_before_the_first_release_one_file_is_rewritten(repository: Path) -> None:
    write(repository, dict([migration(repository)]))
    edit(repository, 'title = "Title missing"', 'title = "The title isn\'t there"')
    path, sql = migration(repository)
    assert path == MIGRATIONS / "20261123000900_error_catalog.sql"
    assert "'The title isn''t there'" in sql


def test_a_released_migration_is_never_rewritten(repository: Path) -> None:
    released, original = migration(repository)
    write(repository, {released: original})
    (repository / MIGRATIONS / "20261124000000_something_else.sql").write_text("select 1;", "utf-8")
    edit(repository, "released_migrations = []", f'released_migrations = ["{released.name}"]')
    # Unchanged: nothing to write.
    assert migration(repository) == (released, original)
    # Changed: a new file, younger than every other.
    edit(repository, 'title = "Title missing"', 'title = "No title"')
    path, sql = migration(repository)
    assert path == MIGRATIONS / "20270102030405_error_catalog.sql"
    assert "'No title'" in sql
    write(repository, {path: sql})
    # Changed again before it is released: the same new file.
    edit(repository, 'title = "No title"', 'title = "Untitled"')
    again, sql = migration(repository)
    assert again == path
    assert "'Untitled'" in sql
    assert (repository / released).read_text("utf-8") == original


def test_a_new_migration_is_younger_than_those_from_the_future(repository: Path) -> None:
    released, original = migration(repository)
    write(repository, {released: original})
    (repository / MIGRATIONS / "20300101000000_later.sql").write_text("select 1;", "utf-8")
    edit(repository, "released_migrations = []", f'released_migrations = ["{released.name}"]')
    edit(repository, 'title = "Title missing"', 'title = "No title"')
    assert migration(repository)[0].name == "20300101000001_error_catalog.sql"


def test_a_released_code_cannot_disappear(repository: Path) -> None:
    released, original = migration(repository)
    write(repository, {released: original})
    edit(repository, "released_migrations = []", f'released_migrations = ["{released.name}"]')
    edit(repository, 'code = "title_missing"', 'code = "title_absent"')
    with pytest.raises(GenerateError, match="title_missing"):
        migration(repository)


def test_a_released_migration_that_is_missing_is_said(repository: Path) -> None:
    edit(repository, "released_migrations = []", 'released_migrations = ["20260101000000_error_catalog.sql"]')
    with pytest.raises(GenerateError, match="does not exist"):
        migration(repository)


def test_the_settings_page_names_every_setting_and_marks_secrets() -> None:
    from orbyt_worker.settings import Settings

    page = generate.settings_page(ROOT)[Path("docs/reference/settings.md")]
    for name in Settings.model_fields:
        assert f"| `ORBYT_{name.upper()}` |" in page
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert "secret" in rows["ORBYT_DATABASE_URL"]
    assert "required" in rows["ORBYT_DATABASE_URL"]
    assert "secret" in rows["ORBYT_GOOGLE_CLIENT_SECRET"]
    assert "`debug` or `info`" in rows["ORBYT_LOG_LEVEL"]


def test_the_environment_does_not_change_what_is_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    before = generated(ROOT)
    monkeypatch.setenv("ORBYT_LEASE_SECONDS", "77")
    monkeypatch.setenv("ORBYT_ENVIRONMENT", "nonsense")
    assert generated(ROOT) == before
