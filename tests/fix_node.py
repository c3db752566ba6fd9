"""Programs from npm that tests run: the Supabase CLI, and Node itself. `make test` installs them under tools/node."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fix_parts import missing
from tools.npm import NODE_DIR, environment, node

ROOT = Path(__file__).parents[1]
_CLI_SECONDS_MAX = 60

Completed = subprocess.CompletedProcess[str]
SupabaseCli = Callable[..., Completed]
Tsc = Callable[..., Completed]


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """tools/node/node_modules, installed."""
    modules = NODE_DIR / "node_modules"
    if not (modules / ".bin" / "supabase").exists():
        missing("the packages of tools/node (`make test` installs them)")
    return modules


@pytest.fixture(scope="session")
def supabase_cli(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> SupabaseCli:
    """Runs `supabase <arguments>` on this repository: no prompt, no telemetry, no home directory, no terminal."""
    home = tmp_path_factory.mktemp("supabase-home")
    env = environment() | {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "SUPABASE_TELEMETRY_DISABLED": "1",
        "DO_NOT_TRACK": "1",
        "SUPABASE_YES": "1",
        "SUPABASE_NO_UPDATE_NOTIFIER": "1",
        "NO_COLOR": "1",
    }
    env.pop("SUPABASE_ACCESS_TOKEN", None)

    def run(*arguments: str, workdir: Path = ROOT) -> Completed:
        answer = subprocess.run(
            [node(), node_modules / ".bin" / "supabase", *arguments, "--workdir", str(workdir)],
            env=env,
            cwd=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_CLI_SECONDS_MAX,
            check=False,
        )
        if "Unsupported platform" in answer.stderr or "could not find" in answer.stderr.lower():
            missing(f"the Supabase CLI for {os.uname().machine}: {answer.stderr.strip()[:200]}")
        return answer

    return run


@pytest.fixture(scope="session")
def tsc(node_modules: Path) -> Tsc:
    """Runs the TypeScript compiler."""

    def run(*arguments: str) -> Completed:
        return subprocess.run(
            [node(), node_modules / ".bin" / "tsc", *arguments],
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_CLI_SECONDS_MAX,
            check=False,
        )

    return run
