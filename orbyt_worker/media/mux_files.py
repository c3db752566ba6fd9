"""Which of a Mux asset's static renditions a platform should get, and which to ask for where there is none. Pure.

Source: Mux docs "Download your videos": names, states, that only files of the new API have a state of their own, that
`highest` and the other resolutions exclude each other, as does the legacy mp4_support, and that nothing is scaled up.
"""

from __future__ import annotations

import re
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

_RESOLUTION = re.compile(r"\d+p\.mp4")

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


def fits(file: File, prefer: str) -> bool:
    """ "1080p": at most 1920 on the long side, which an upright video has as its height. "highest": everything fits."""
    if prefer == "highest":
        return True
    if file.width and file.height:
        return max(file.width, file.height) <= 1920
    return NAMES_BY_SIZE.get(file.name, 0) <= 1080


def _short_side(file: File) -> int:
    return min(file.width, file.height) if file.width and file.height else NAMES_BY_SIZE.get(file.name, 0)


def _rank(file: File, prefer: str) -> tuple[bool, int, str]:
    good = fits(file, prefer)
    return not good, -_short_side(file) if good else _short_side(file), file.name


def choose(files: Sequence[File], prefer: str, *, expect: MediaFacts | None = None) -> File | None:
    """The best of the files that are ready or in the making, or None. `prefer` is "highest" or "1080p".

    `expect`: a transfer of that file has begun, and it is the one to go on with, whatever appeared since.
    A better file in the making wins over a ready one: Mux takes minutes, and a post cannot be exchanged later.
    """
    usable = [each for each in files if each.is_video and each.status in {"ready", "preparing"}]
    begun = [each for each in usable if is_begun(each, expect)]
    return min(begun or usable, key=lambda each: _rank(each, prefer), default=None)


def is_begun(file: File, expect: MediaFacts | None) -> bool:
    """Whether this is the file whose transfer has begun."""
    if expect is None or file.status != "ready" or file.size_bytes is None or file.size_bytes != expect.size_bytes:
        return False
    return file.height is None or expect.height is None or file.height == expect.height


def candidates(prefer: str) -> tuple[str, ...]:
    """Every name, best first: the order in which to ask the streaming host when there is no list to choose from."""
    return tuple(
        each.name
        for each in sorted((File(name, "ready") for name in NAMES_BY_SIZE), key=lambda each: _rank(each, prefer))
    )


def wanted(files: Sequence[File], prefer: str, *, width: int | None, height: int | None, legacy: bool) -> str | None:
    """The `resolution` to ask Mux for when no file can be used, or None: Mux would refuse, or has failed already.

    `width` and `height` are those of the asset. `highest` where it is good enough, also for "1080p": it serves every platform
    and costs no extra encoding. Files of the legacy kind belong to somebody, and are not deleted to make room for ours.
    """
    names = {each.name for each in files if each.is_video}
    if legacy or "highest.mp4" in names or any(each.is_video and each.status == "errored" for each in files):
        return None
    small = bool(width and height and min(width, height) <= 1080 and max(width, height) <= 1920)
    if not names:
        return "highest" if prefer == "highest" or small else "1080p"
    # Only files that were skipped are left: too large for the asset. `highest` is excluded by them.
    largest = min(width, height) if width and height else 0
    if prefer != "highest":
        largest = min(largest, 1080)
    fitting = [name for name, size in NAMES_BY_SIZE.items() if _RESOLUTION.fullmatch(name) and size <= largest]
    return next((name.removesuffix(".mp4") for name in fitting if name not in names), None)
