"""The Data API as an app meets it: `@supabase/lite` on the tests' PostgreSQL, and programs that use the real supabase-js on it.

lite            one server per test process, for every database of the PostgreSQL server
client_package  node_modules with what an app has: supabase-js, and supabase/client as npm packs it
run_node        runs TypeScript in Node with that
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from orbyt_worker.sandbox.lite import LiteServer, find_lite
from orbyt_worker.sandbox.postgres import PostgresServer
from tests.fix_node import ROOT, Completed
from tests.fix_parts import missing
from tools.npm import NODE_DIR, environment, node

CLIENT = ROOT / "supabase" / "client"
NODE_SECONDS_MAX = 90
# The compiler options that the tests' programs and the documentation's examples are held to.
STRICT = (
    *("--noEmit", "--strict", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes", "--noImplicitOverride"),
    *("--noUnusedLocals", "--erasableSyntaxOnly", "--verbatimModuleSyntax", "--allowImportingTsExtensions"),
    *("--module", "nodenext", "--target", "es2022", "--lib", "es2023,dom", "--skipLibCheck", "--types", "node"),
)

RunNode = Callable[..., Any]
CheckTypes = Callable[..., Completed]


@pytest.fixture(scope="session")
def lite(postgres: PostgresServer) -> Iterator[LiteServer]:
    """`lite.url_of(database)` is what an app gives to `createClient`."""
    program = find_lite()
    if program is None:
        missing("@supabase/lite (`make test` installs it under tools/node)")
    with LiteServer(program, postgres) as server:
        yield server


@pytest.fixture(scope="session")
def client_package(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose node_modules holds what an app has installed."""
    directory = tmp_path_factory.mktemp("app")
    modules = directory / "node_modules"
    modules.mkdir()
    (directory / "package.json").write_text('{"name": "app", "private": true, "type": "module"}', "utf-8")
    for name in ("@supabase", "@types", "undici-types", "ws"):
        (modules / name).symlink_to(node_modules / name)
    npm = node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    packed = subprocess.run(
        [node(), npm, "pack", "--json", "--offline", "--pack-destination", directory, CLIENT],
        env=environment() | {"npm_config_cache": str(directory / "npm-cache"), "npm_config_update_notifier": "false"},
        cwd=NODE_DIR,
        capture_output=True,
        text=True,
        timeout=NODE_SECONDS_MAX,
        check=False,
    )
    assert packed.returncode == 0, packed.stderr
    (answer,) = json.loads(packed.stdout)
    with tarfile.open(directory / answer["filename"]) as archive:
        archive.extractall(modules, filter="data")
    (modules / "package").rename(modules / "orbyt-client")
    return directory


@pytest.fixture
def app_directory(client_package: Path, tmp_path: Path) -> Path:
    """A directory of this test's own with the app's node_modules in it."""
    directory = tmp_path / "app"
    directory.mkdir()
    (directory / "node_modules").symlink_to(client_package / "node_modules")
    shutil.copy(client_package / "package.json", directory)
    return directory


@pytest.fixture
def check_types(app_directory: Path) -> CheckTypes:
    """Type-checks files of the app's directory, strictly; asserts that there is nothing to say."""

    def run(*names: str, expect: str = "") -> Completed:
        answer = subprocess.run(
            [node(), NODE_DIR / "node_modules" / ".bin" / "tsc", *STRICT, *names],
            cwd=app_directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=NODE_SECONDS_MAX,
            check=False,
        )
        if not expect:
            assert answer.returncode == 0, answer.stdout
        return answer

    return run


@pytest.fixture
def run_node(app_directory: Path) -> RunNode:
    """Runs a program of the app's directory; `given` is what it gets, what it prints last (JSON) is what is returned."""

    def run(name: str, given: Mapping[str, Any]) -> Any:
        try:
            answer = subprocess.run(
                [node(), "--disable-warning=ExperimentalWarning", name],
                cwd=app_directory,
                env={"PATH": os.defpath, "GIVEN": json.dumps(given, default=str)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=NODE_SECONDS_MAX,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            pytest.fail(f"{name} has not ended after {NODE_SECONDS_MAX} s: {error.stdout!r} {error.stderr!r}")
        assert answer.returncode == 0, f"{answer.stdout}\n{answer.stderr}"
        lines = answer.stdout.strip().splitlines()
        return json.loads(lines[-1]) if lines else None

    return run
