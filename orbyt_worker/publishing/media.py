"""The media of one attempt: opened when a step wants them, in the form the platform asks for, closed with the attempt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from types import TracebackType
from typing import Self

from orbyt_worker.errors.failure import Failure
from orbyt_worker.logs import Redactor
from orbyt_worker.media.hosting import Hosted
from orbyt_worker.media.relay import MediaNotReady, MediaRelay
from orbyt_worker.model import Job, MediaFacts, MediaItem, MediaSpec, Snooze, Stage
from orbyt_worker.platforms.base import MediaReader


class AttemptMedia:
    """What `StepContext` offers of the media of one claimed job. An async context manager.

    "Not there yet" of a source becomes Snooze: the job gives its slot back and comes again.
    """

    def __init__(
        self,
        relay: MediaRelay,
        job: Job,
        spec: MediaSpec,
        redactor: Redactor,
        note_hosted: Callable[[str], Awaitable[None]],
    ) -> None:
        self._relay = relay
        self._items = job.post.media
        self._spec = spec
        self._hosted = Hosted(folder=str(job.job_id), note=note_hosted, redact=redactor.register)
        self._stack = AsyncExitStack()
        self._covers: dict[int, MediaReader] = {}
        self.readers: list[MediaReader] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def inspect(self) -> list[MediaFacts]:
        """Look at every file without moving its bytes. A Failure names the item."""
        facts = []
        for index, item in enumerate(self._items):
            with _waiting(f"media[{index}]"):
                facts.append(await self._relay.facts(item, spec=self._spec))
        return facts

    async def open(self, facts: Sequence[MediaFacts], *, part: bool) -> None:
        """Open every item. `part`: the step needs at most the end of a file, and must not wait for all before it."""
        if self.readers:
            return
        for index, (item, expected) in enumerate(zip(self._items, facts, strict=False)):
            with _waiting(f"media[{index}]"):
                reader = await self._stack.enter_async_context(
                    self._relay.open(item, spec=self._spec, expect=expected, part=part)
                )
            self.readers.append(reader)

    async def address(self, facts: Sequence[MediaFacts], index: int) -> str:
        """Where the platform itself can fetch an item. A secret."""
        expected = facts[index] if index < len(facts) else None
        with _waiting(f"media[{index}]"):
            return await self._relay.address(
                self._items[index], spec=self._spec, expect=expected, hosted=self._hosted, name=str(index)
            )

    async def cover_address(self, index: int) -> str | None:
        """Where the platform itself can fetch the cover of an item; None without one. A secret."""
        cover = self._cover(index)
        if cover is None:
            return None
        with _waiting(f"media[{index}].cover_url"):
            return await self._relay.address(
                cover, spec=self._cover_spec, expect=None, hosted=self._hosted, name=f"{index}-cover"
            )

    async def cover(self, index: int) -> MediaReader | None:
        """The cover of an item as bytes; None without one."""
        cover = self._cover(index)
        if cover is None:
            return None
        if index not in self._covers:
            with _waiting(f"media[{index}].cover_url"):
                self._covers[index] = await self._stack.enter_async_context(
                    self._relay.open(cover, spec=self._cover_spec)
                )
        return self._covers[index]

    async def document(self, url: str, bytes_max: int) -> bytes:
        """A small text file from an address of the user."""
        return await self._relay.document(url, bytes_max)

    def _cover(self, index: int) -> MediaItem | None:
        url = self._items[index].cover_url
        return None if url is None or self._spec.covers is None else MediaItem("image", url)

    @property
    def _cover_spec(self) -> MediaSpec:
        return MediaSpec(images=self._spec.covers)


@contextmanager
def _waiting(field: str) -> Iterator[None]:
    """Turns MediaNotReady into the Snooze of the attempt, and says which item a Failure is about."""
    try:
        yield
    except MediaNotReady as waiting:
        raise Snooze(waiting.seconds, stage=Stage.PREPARING, code=waiting.code, detail=waiting.detail) from None
    except Failure as failure:
        failure.field = failure.field or field
        raise
