"""Lists and fields as Graph shows them: pages of rows with cursors, nested selections."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from orbyt_worker.sandbox.meta_access import Call, presented_token, split_fields
from orbyt_worker.sandbox.meta_errors import bad_parameter
from orbyt_worker.sandbox.meta_model import HOST_PREFIXES

PAGE_ROWS_MAX = 100
PAGE_ROWS_DEFAULT = 25


def paged(call: Call, rows: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """One page of rows (key, row). `paging.next` carries the token, as the real one does."""
    limit = call.whole("limit")
    limit = PAGE_ROWS_DEFAULT if limit is None else limit
    if not 1 <= limit <= PAGE_ROWS_MAX:
        raise bad_parameter(f"Param limit must be between 1 and {PAGE_ROWS_MAX}.")
    after = call.text("after")
    start = 0
    if after is not None:
        keys = [key for key, _ in rows]
        if after not in keys:
            raise bad_parameter("The cursor is invalid.")
        start = keys.index(after) + 1
    shown = rows[start : start + limit]
    answer: dict[str, Any] = {"data": [row for _, row in shown]}
    if shown:
        answer["paging"] = {"cursors": {"before": shown[0][0], "after": shown[-1][0]}}
        if start + limit < len(rows):
            query = {**call.fields, "access_token": presented_token(call.request, call.fields), "after": shown[-1][0]}
            path = f"{HOST_PREFIXES['graph']}/{call.version}/{call.node_id}/{call.edge}"
            base = call.meta.login.config.paging_base or call.meta.sandbox.base_url
            answer["paging"]["next"] = f"{base}/{path}?{urlencode(query)}"
    return answer


def nested(call: Call, name: str, known: set[str], default: set[str], kind: str) -> set[str]:
    """What `fields` selects inside one of its fields, as in `picture{url}`; code 100 for what is not there."""
    selected = next((part for part in split_fields(call.text("fields") or "") if _name(part) == name), name)
    if "{" not in selected:
        return default
    if not selected.rstrip().endswith("}"):
        raise bad_parameter("Syntax error in fields: a brace is not closed.")
    asked = {_name(part) for part in split_fields(selected[selected.index("{") + 1 : selected.rindex("}")])}
    for unknown in sorted(asked - known):
        raise bad_parameter(f"Tried accessing nonexisting field ({unknown}) on node type ({kind})")
    return asked | ({"id"} & known)


def _name(part: str) -> str:
    return part.split("{")[0].split(".")[0].strip()
