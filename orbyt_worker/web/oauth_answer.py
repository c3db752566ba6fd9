"""What a platform's redirect says, read from the query of the callback. Pure; everything in it may have been made up.

The same reading is in supabase/functions/connect-callback/answer.ts: both doors give the same answer to the same query, and
tests/web/test_callback_doors.py sends the same queries to both.

Shapes: Google `?code&state&scope`, denied `?error=access_denied&state` (Google "Using OAuth 2.0 for Web Server Applications");
Facebook and Instagram `?code&state`, cancelled `?error_reason=user_denied&error=access_denied&error_description`, a login
that is set up wrongly `?error_code&error_message`; both are known to leave `#_` or `#_=_` behind (Meta "Manually Build a Login
Flow", "Business Login for Instagram"). Read 2026-11.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from orbyt_worker.callback_crypto import CODE_BYTES_MAX, state_hash

QUERY_BYTES_MAX = 16 * 1024
STATE_CHARACTERS_MAX = 512

# Words of our own, for what no platform gave a word for.
PLATFORM_ERROR = "platform_error"
CODE_MISSING = "code_missing"

_STATE = re.compile(rf"[A-Za-z0-9._~-]{{1,{STATE_CHARACTERS_MAX}}}")
_CODE = re.compile(rf"[\x21-\x7e]{{1,{CODE_BYTES_MAX}}}")
_WORD = re.compile(r"[a-z0-9_]{1,64}")
_LEFTOVERS = ("#_=_", "#_")
_ERRORS = ("error", "error_reason", "error_code", "error_message")


@dataclass(frozen=True, slots=True)
class OAuthAnswer:
    """`state_hash`: hex SHA-256 of the state, of nothing when none can be read. Either `code` or `error` is set."""

    state_hash: str
    code: str | None = field(default=None, repr=False)
    error: str | None = None


def read_answer(query: bytes) -> OAuthAnswer:
    """An answer that says yes and no at once is a no; a parameter that comes twice is none at all."""
    if len(query) > QUERY_BYTES_MAX:
        return OAuthAnswer(state_hash(""), error=CODE_MISSING)
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)

    def single(name: str) -> str:
        values = [value for key, value in pairs if key == name]
        return values[0] if len(values) == 1 else ""

    state = _clean(single("state"))
    found_by = state_hash(state if _STATE.fullmatch(state) else "")
    if any(key in _ERRORS for key, _ in pairs):
        return OAuthAnswer(found_by, error=_word(single("error") or single("error_reason")))
    code = _clean(single("code"))
    if _CODE.fullmatch(code) is None:
        return OAuthAnswer(found_by, error=CODE_MISSING)
    return OAuthAnswer(found_by, code=code)


def _clean(value: str) -> str:
    for each in _LEFTOVERS:
        value = value.removesuffix(each)
    return value


def _word(value: str) -> str:
    """A word for the catalog to know; never a text that was sent along."""
    word = value.lower()
    return word if _WORD.fullmatch(word) else PLATFORM_ERROR
