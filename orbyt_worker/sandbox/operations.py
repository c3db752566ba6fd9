"""Marks the methods that make up the control API.

An operation is an ordinary public method of a simulator: tests call it in Python, others reach the same method as
`/_control/<simulator>/<name>` (control.py), with its parameters as JSON. One definition, so the two cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

_MARK = "_sandbox_operation_reads"

F = TypeVar("F", bound=Callable[..., Any])


def operation(*, reads: bool = False) -> Callable[[F], F]:
    """Offer a method through the control API; `reads` says that it changes nothing, which allows GET."""

    def mark(method: F) -> F:
        setattr(method, _MARK, reads)
        return method

    return mark


def operations(owner: object) -> Iterator[tuple[str, Callable[..., Any], bool]]:
    """Every operation of `owner` as (name, bound method, reads), sorted by name."""
    for name in sorted(dir(type(owner))):
        reads = getattr(getattr(type(owner), name), _MARK, None)
        if reads is not None:
            yield name, getattr(owner, name), bool(reads)
