"""The one exception that says a job cannot go on, in the words of the error catalog.

A raise site names *what happened* (a code and a few numbers). It never says whether to retry: only
`publishing/retry.py` decides that, and it reads the catalog.
"""

from __future__ import annotations

from orbyt_worker.errors.codes import ErrorCode


class Failure(Exception):
    """Something in the outside world, or in the input, stops this attempt.

    `detail` is one short sentence for the job row and the log: it must hold no token, no URL with a
    query, no response body. Numbers of the platform go into the numeric fields, which are kept as they are.

    `retry_after_seconds` is what the other side asked for (Retry-After, a quota reset); it takes
    precedence over the catalog's own delay. `field` is a path into the row (`title`, `media[0].url`).

    `never_visible`: raised after the visible call was accepted, on the platform's own word that what it accepted did not and
    will not appear (a reel whose processing failed). Only then is a confirmed post filed as not published.
    """

    def __init__(
        self,
        code: ErrorCode,
        detail: str = "",
        *,
        field: str | None = None,
        retry_after_seconds: float | None = None,
        platform_code: str | None = None,
        platform_subcode: str | None = None,
        http_status: int | None = None,
        never_visible: bool = False,
    ) -> None:
        super().__init__(f"{code}: {detail}" if detail else str(code))
        self.code = code
        self.detail = detail
        self.field = field
        self.retry_after_seconds = retry_after_seconds
        self.platform_code = platform_code
        self.platform_subcode = platform_subcode
        self.http_status = http_status
        self.never_visible = never_visible
