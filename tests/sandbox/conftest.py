"""One sandbox server for all tests of the simulators; every test starts with an empty world and leaves no mistake behind."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from orbyt_worker.sandbox.google import AccountHandle
from orbyt_worker.sandbox.server import SandboxServer
from orbyt_worker.sandbox.state import Sandbox


@pytest.fixture(scope="session")
def _running() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server


@pytest.fixture
def server(_running: SandboxServer) -> Iterator[SandboxServer]:
    _running.state.reset()
    yield _running
    assert _running.state.internal_errors() == []


@pytest.fixture
def sandbox(server: SandboxServer) -> Sandbox:
    return server.state


@pytest.fixture
def client(server: SandboxServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


@pytest.fixture
def account(sandbox: Sandbox) -> AccountHandle:
    return sandbox.google.create_account()


@pytest.fixture
def bearer(sandbox: Sandbox, account: AccountHandle) -> dict[str, str]:
    """Authorization header of `account`."""
    return {"Authorization": f"Bearer {sandbox.google.issue_access_token(account.refresh_token)}"}
