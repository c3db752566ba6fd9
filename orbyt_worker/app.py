"""The only place where parts are put together. No logic of its own."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import structlog

from orbyt_worker.connecting.care import Care
from orbyt_worker.connecting.desk import Desk
from orbyt_worker.connecting.session import Session
from orbyt_worker.connecting.setup import set_up
from orbyt_worker.db.connect_queries import ConnectQueries
from orbyt_worker.db.door_queries import DoorQueries
from orbyt_worker.db.notify import CONNECTS, JOBS, Listener
from orbyt_worker.db.pool import Database, DatabaseUnavailable
from orbyt_worker.db.queries import Queries
from orbyt_worker.health import Health
from orbyt_worker.logs import Redactor, configure
from orbyt_worker.media.relay import MediaConfig, MediaRelay
from orbyt_worker.platforms.http import ApiClient
from orbyt_worker.platforms.registry import connectors, platforms
from orbyt_worker.publishing.execute import Executor
from orbyt_worker.publishing.keys import MasterKeys
from orbyt_worker.publishing.lease import Lease
from orbyt_worker.publishing.tokens import Tokens
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings
from orbyt_worker.worker.connects import Connects
from orbyt_worker.worker.loop import Loop
from orbyt_worker.worker.upkeep import Upkeep, cancel_and_wait

STARTUP_PAUSE_SECONDS_MIN = 0.5
STARTUP_PAUSE_SECONDS_MAX = 30.0

log = structlog.get_logger(__name__)


def version() -> str:
    """Version of the installed package."""
    return importlib.metadata.version("orbyt-worker")


def sandbox_checkpoint(settings: Settings) -> Callable[[str, str], None]:
    """The kill tests' hook (settings refuse it outside the sandbox): note every checkpoint, die at the one that is named."""
    passed: dict[tuple[str, str], int] = {}

    def checkpoint(kind: str, name: str) -> None:
        passed[kind, name] = passed.get((kind, name), 0) + 1
        place = f"{kind} {name} {passed[kind, name]}"
        if settings.sandbox_checkpoint_log is not None:
            with Path(settings.sandbox_checkpoint_log).open("a", encoding="utf-8") as file:
                file.write(f"{place}\n")
        if settings.sandbox_kill_at == place:
            os.kill(os.getpid(), signal.SIGKILL)

    return checkpoint


def make_runtime(settings: Settings) -> Runtime:
    if settings.sandbox_kill_at is None and settings.sandbox_checkpoint_log is None:
        return Runtime()
    return Runtime(checkpoint=sandbox_checkpoint(settings))


async def open_database(database: Database, runtime: Runtime, stopping: asyncio.Event) -> None:
    """Connect, however long the database takes to come up; says so with growing pauses. Returns early when stopping."""
    failures = 0
    while not stopping.is_set():
        try:
            await database.open()
        except DatabaseUnavailable as error:
            failures += 1
            pause = min(STARTUP_PAUSE_SECONDS_MAX, STARTUP_PAUSE_SECONDS_MIN * 2 ** min(failures, 10))
            log.warning("database.unreachable", error=type(error).__name__, retry_seconds=pause)
            stopped = asyncio.ensure_future(stopping.wait())
            paused = asyncio.ensure_future(runtime.sleep(pause))
            await asyncio.wait({stopped, paused}, return_when=asyncio.FIRST_COMPLETED)
            await cancel_and_wait({stopped, paused})
        else:
            return


class Worker:
    """One worker process: `run()` until `stop()`."""

    def __init__(self, settings: Settings, *, runtime: Runtime | None = None) -> None:
        self.settings = settings
        self.runtime = runtime or make_runtime(settings)
        self.redactor = Redactor()
        configure(level=settings.log_level, fmt=settings.log_format, redactor=self.redactor)
        for secret in (
            settings.database_url,
            settings.supabase_secret_key,
            settings.google_client_secret,
            settings.meta_app_secret,
            settings.instagram_app_secret,
            settings.mux_token_secret,
            settings.mux_signing_private_key,
            settings.mux_webhook_secret,
        ):
            if secret is not None:
                self.redactor.register(secret.get_secret_value(), keep=True)
        self.health = Health(self.runtime, ready_seconds=max(60.0, 2 * settings.poll_seconds))
        self._stop: Callable[[], None] | None = None
        self._stopping = asyncio.Event()
        self.ready = asyncio.Event()

    def stop(self) -> None:
        """Graceful stop: drain, give back, return from run()."""
        self._stopping.set()
        if self._stop is not None:
            self._stop()

    async def run(self) -> None:
        """Run until stopped. Raises Failure when the worker cannot work at all (no key in Vault)."""
        settings, runtime = self.settings, self.runtime
        database = Database(settings.database_url.get_secret_value(), size_max=settings.database_pool_size_max)
        queries = Queries(database, runtime)
        media = MediaRelay(MediaConfig.from_settings(settings), runtime, on_bytes=self.health.bytes_in)
        client = ApiClient(
            runtime, sandbox=settings.sandbox, on_call=self.health.http_called, on_bytes=self.health.bytes_out
        )
        async with contextlib.AsyncExitStack() as stack:
            # First of all: alive, though not ready, while the database is away.
            await stack.enter_async_context(self._http_server(DoorQueries(database, runtime)))
            stack.push_async_callback(database.close)
            await open_database(database, runtime, self._stopping)
            if self._stopping.is_set():
                return
            if not database.mode.can_listen:
                log.warning(
                    "database.transaction_pooler",
                    hint="port 6543 cannot LISTEN: polling only; use the session pooler or the direct connection",
                )
            await media.start()
            stack.push_async_callback(media.close)
            stack.push_async_callback(client.aclose)
            keys = MasterKeys(queries, runtime)
            await keys.load()
            lease = Lease(runtime, settings.lease_seconds)
            known, known_connectors = platforms(settings), connectors(settings)
            worker_id = runtime.new_id()
            tokens = Tokens(
                queries=queries,
                keys=keys,
                platforms=known,
                http=client,
                settings=settings,
                runtime=runtime,
                redactor=self.redactor,
                health=self.health,
                worker_id=worker_id,
            )
            loop = Loop(
                worker_id=worker_id,
                host=socket.gethostname(),
                version=version(),
                queries=queries,
                keys=keys,
                lease=lease,
                execute=lambda claim: executor.execute(claim),
                goodbye=lambda: connects.stop(),
                settings=settings,
                runtime=runtime,
                health=self.health,
            )
            executor = Executor(
                queries=queries,
                platforms=known,
                http=client,
                media=media,
                tokens=tokens,
                keys=keys,
                redactor=self.redactor,
                lease=lease,
                renew_lease=loop.heartbeat,
                settings=settings,
                runtime=runtime,
                health=self.health,
            )
            connect_queries = ConnectQueries(database, runtime)
            session = Session(
                queries=connect_queries,
                connectors=known_connectors,
                http=client,
                keys=keys,
                tokens=tokens,
                redactor=self.redactor,
                settings=settings,
                runtime=runtime,
                health=self.health,
            )
            connects = Connects(
                worker_id=worker_id,
                queries=connect_queries,
                set_up=lambda: set_up(connect_queries, keys, known_connectors, settings, runtime),
                run_session=session.run,
                settings=settings,
                runtime=runtime,
            )
            care = Care(
                worker_id=worker_id,
                queries=connect_queries,
                connectors=known_connectors,
                tokens=tokens,
                http=client,
                settings=settings,
                runtime=runtime,
                health=self.health,
            )
            await loop.register()
            self._stop = loop.stop
            if self._stopping.is_set():
                loop.stop()
            upkeep = Upkeep(
                queries=queries,
                tokens=tokens,
                runtime=runtime,
                health=self.health,
                interval_seconds=settings.upkeep_seconds,
                wake=loop.wake,
                remove_hosted=media.remove_hosted,
                expire_connects=connect_queries.expire_connects,
                check_accounts=care.check_round,
                revoke_accounts=care.revoke_round,
            )
            helpers = {
                asyncio.create_task(loop.keep_lease(), name="heartbeat"),
                asyncio.create_task(upkeep.run(), name="upkeep"),
            }
            wakes = {JOBS: loop.wake}
            if settings.connect_slots > 0:
                helpers.add(asyncio.create_task(connects.run(), name="connects"))
                wakes[CONNECTS] = connects.wake
            if database.mode.can_listen:
                listener = Listener(settings.database_url.get_secret_value(), runtime, wakes)
                helpers.add(asyncio.create_task(listener.run(), name="listener"))
            log.info(
                "worker.ready",
                version=version(),
                background_slots=settings.background_slots,
                publish_slots=settings.publish_slots,
            )
            self.ready.set()
            main = asyncio.create_task(loop.run(), name="loop")
            try:
                done, _ = await asyncio.wait({main, *helpers}, return_when=asyncio.FIRST_COMPLETED)
                if main not in done:
                    # A helper runs until cancelled: if one ended, that is our mistake. Drain, then let its error out.
                    loop.stop()
                await main
                for task in done - {main}:
                    task.result()
            finally:
                main.cancel()
                await cancel_and_wait(helpers)

    @contextlib.asynccontextmanager
    async def _http_server(self, queries: DoorQueries) -> AsyncIterator[None]:
        """Probes, metrics, callbacks and the webhook, on loopback unless set otherwise."""
        if self.settings.http_port == 0:
            yield
            return
        # Here, because it takes a second to load: not everything that imports this module serves.
        from orbyt_worker.web.app import http_app
        from orbyt_worker.web.parts import Parts
        from orbyt_worker.web.server import serving

        parts = Parts(health=self.health, settings=self.settings, queries=queries, runtime=self.runtime)
        async with serving(http_app(parts), self.settings):
            yield


@contextlib.asynccontextmanager
async def account_desk(settings: Settings) -> AsyncIterator[Desk]:
    """What `orbyt-worker accounts` needs of a worker: its settings, its role, its way to the platforms; no queue. Raises
    Failure(vault_key_missing), or what psycopg raises when the database is away."""
    runtime, redactor = make_runtime(settings), Redactor()
    configure(level="error", fmt="console", redactor=redactor)
    health = Health(runtime)
    database = Database(settings.database_url.get_secret_value(), size_max=2)
    client = ApiClient(runtime, sandbox=settings.sandbox)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        stack.push_async_callback(client.aclose)
        await database.open()
        queries, connect_queries = Queries(database, runtime), ConnectQueries(database, runtime)
        keys = MasterKeys(queries, runtime)
        await keys.load()
        tokens = Tokens(
            queries=queries,
            keys=keys,
            platforms=platforms(settings),
            http=client,
            settings=settings,
            runtime=runtime,
            redactor=redactor,
            health=health,
        )
        care = Care(
            worker_id=runtime.new_id(),
            queries=connect_queries,
            connectors=connectors(settings),
            tokens=tokens,
            http=client,
            settings=settings,
            runtime=runtime,
            health=health,
        )
        yield Desk(queries=connect_queries, care=care, tokens=tokens)


async def run_worker(settings: Settings) -> None:
    """Run one worker with signal handlers: the first SIGTERM or SIGINT drains, the second exits at once and loses nothing."""
    worker = Worker(settings)
    signals = 0

    def on_signal() -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            log.warning("worker.exit_now")
            os._exit(1)
        worker.stop()

    running = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(each, on_signal)
    await worker.run()
