"""Which of a Mux asset's static renditions a platform should get. Pure.

Source: Mux docs "Download your videos": names, states, and that only files of the new API have a state of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orbyt_worker.model import MediaFacts

# Short side in pixels a name promises when Mux does not say. `highest` is what the asset has, 2160 at most; the legacy
# high/medium/low stand for "at most about" and come after an exact name of the same size.
NAMES_BY_SIZE: dict[str, int] = {
    "highest.mp4": 2161,
    "2160p.mp4": 2160,
    "1440p.mp4": 1440,
    "1080p.mp4": 1080,
    "capped-1080p.mp4": 1079,
    "high.mp4": 1078,
    "720p.mp4": 720,
    "medium.mp4": 541,
    "540p.mp4": 540,
    "480p.mp4": 480,
    "360p.mp4": 360,
    "low.mp4": 359,
    "270p.mp4": 270,
}

State = Literal["ready", "preparing", "skipped", "errored"]


@dataclass(frozen=True, slots=True)
class File:
    """One static rendition. Pixels and size are None until it is ready. `skipped` and `errored` are final."""

    name: str
    status: State
    width: int | None = None
    height: int | None = None
    size_bytes: int | None = None

    @property
    def is_video(self) -> bool:
        return self.name.endswith(".mp4")


def _fits(file: File, prefer: str) -> bool:
    """ "1080p": at most 1920 on the long side, which an upright video has as its height. "highest": everything fits."""
    if prefer == "highest":
        return True
    if file.width and file.height:
        return max(file.width, file.height) <= 1920
    return NAMES_BY_SIZE.get(file.name, 0) <= 1080


def _short_side(file: File) -> int:
    return min(file.width, file.height) if file.width and file.height else NAMES_BY_SIZE.get(file.name, 0)


def _rank(file: File, prefer: str) -> tuple[bool, int, str]:
    fits = _fits(file, prefer)
    return not fits, -_short_side(file) if fits else _short_side(file), file.name


def choose(files: Sequence[File], prefer: str, *, expect: MediaFacts | None = None) -> File | None:
    """The best of the files that are ready or in the making, or None. `prefer` is "highest" or "1080p".

    `expect`: a transfer of that file has begun, and it is the one to go on with, whatever appeared since.
    A better file in the making wins over a ready one: Mux takes minutes, and a post cannot be exchanged later.
    """
    usable = [each for each in files if each.is_video and each.status in {"ready", "preparing"}]
    begun = [each for each in usable if expect is not None and _is(each, expect)]
    return min(begun or usable, key=lambda each: _rank(each, prefer), default=None)


def _is(file: File, expect: MediaFacts) -> bool:
    if file.status != "ready" or file.size_bytes is None or file.size_bytes != expect.size_bytes:
        return False
    return file.height is None or expect.height is None or file.height == expect.height


def candidates(prefer: str) -> tuple[str, ...]:
    """Every name, best first: the order in which to ask the streaming host when there is no list to choose from."""
    return tuple(
        each.name
        for each in sorted((File(name, "ready") for name in NAMES_BY_SIZE), key=lambda each: _rank(each, prefer))
    )
