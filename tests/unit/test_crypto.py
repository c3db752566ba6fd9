"""Sealing: opens for its own row only, nothing can be changed unnoticed, and nothing of a key shows."""

from __future__ import annotations

import hmac
import pickle
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbyt_worker import crypto
from orbyt_worker.crypto import BLOB_BYTES_MIN, Keyring, context
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure

OWNER = UUID("7b0f3a52-8d6e-4a51-9d4c-0a2f5d3c9b11")
KEYS = {"2026-11": bytes(range(32)), "2026-12": bytes(range(100, 132))}
RING = Keyring(KEYS, active="2026-11")
# The secret "token", sealed under iv aa…aa by `openssl enc -aes-256-cbc` and HMAC.
KNOWN_ANSWER = "01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa7c71b9e164fb202e1272806f652b3ba6cc531d5254f095e43a5e17de54b2db7b82af1cfe307c7c5cf39c75d80fb1269d"
NAMES = st.from_regex(r"[a-z0-9_.:\-]{1,64}", fullmatch=True)


def fails(
    ring: Keyring, blob: bytes, *, owner_id: UUID = OWNER, kind: str = "access_token", key_id: str = "2026-11"
) -> Failure:
    with pytest.raises(Failure) as caught:
        ring.open(blob, owner_id=owner_id, kind=kind, key_id=key_id)
    return caught.value


@given(plaintext=st.binary(max_size=300), owner=st.uuids(), kind=NAMES)
def test_what_was_sealed_opens_for_the_same_row(plaintext: bytes, owner: UUID, kind: str) -> None:
    sealed = RING.seal(plaintext, owner_id=owner, kind=kind)
    assert sealed.key_id == "2026-11"
    assert RING.open(sealed.blob, owner_id=owner, kind=kind, key_id=sealed.key_id) == plaintext


def test_text_is_sealed_as_utf8() -> None:
    sealed = RING.seal("zażółć 🎬", owner_id=OWNER, kind="access_token")
    assert RING.open(sealed.blob, owner_id=OWNER, kind="access_token", key_id="2026-11").decode() == "zażółć 🎬"


def test_the_format_does_not_change() -> None:
    """Known answer: stored values must stay readable."""
    ring = Keyring(KEYS, active="2026-11", random_bytes=lambda count: b"\xaa" * count)
    blob = ring.seal("token", owner_id=OWNER, kind="access_token").blob
    assert len(blob) == BLOB_BYTES_MIN
    assert blob[:17] == b"\x01" + b"\xaa" * 16
    mac = hmac.digest(KEYS["2026-11"], b"orbyt/v1/mac", "sha256")
    assert blob[-32:] == hmac.digest(mac, f"{OWNER}|access_token|2026-11".encode() + blob[:-32], "sha256")
    assert blob.hex() == KNOWN_ANSWER


def test_the_same_secret_never_looks_the_same() -> None:
    blobs = {RING.seal("token", owner_id=OWNER, kind="access_token").blob for _ in range(50)}
    assert len(blobs) == 50
    assert all(b"token" not in blob for blob in blobs)


@given(plaintext=st.binary(max_size=100), data=st.data())
def test_any_changed_bit_is_noticed(plaintext: bytes, data: st.DataObject) -> None:
    blob = bytearray(RING.seal(plaintext, owner_id=OWNER, kind="access_token").blob)
    at = data.draw(st.integers(0, len(blob) * 8 - 1))
    blob[at // 8] ^= 1 << (at % 8)
    assert fails(RING, bytes(blob)).code is ErrorCode.SECRET_UNREADABLE


@pytest.mark.parametrize(
    ("region", "at"),
    [
        ("version", 0),
        ("iv", 1),
        ("iv end", 16),
        ("ciphertext", 17),
        ("ciphertext end", -33),
        ("tag", -32),
        ("tag end", -1),
    ],
)
def test_each_region_is_protected(region: str, at: int) -> None:
    blob = bytearray(RING.seal("a token of more than one block", owner_id=OWNER, kind="access_token").blob)
    blob[at] ^= 0x01
    assert fails(RING, bytes(blob)).code is ErrorCode.SECRET_UNREADABLE, region


@given(data=st.data())
def test_cut_or_lengthened_values_do_not_open(data: st.DataObject) -> None:
    blob = RING.seal(b"x" * 40, owner_id=OWNER, kind="access_token").blob
    cut = data.draw(st.integers(0, len(blob) - 1))
    assert fails(RING, blob[:cut]).code is ErrorCode.SECRET_UNREADABLE
    assert fails(RING, blob + data.draw(st.binary(min_size=1, max_size=64))).code is ErrorCode.SECRET_UNREADABLE


@given(blob=st.binary(max_size=200))
def test_rubbish_does_not_open(blob: bytes) -> None:
    assert fails(RING, blob).code is ErrorCode.SECRET_UNREADABLE


def test_a_value_moved_to_another_row_does_not_open() -> None:
    blob = RING.seal("token", owner_id=OWNER, kind="access_token").blob
    assert fails(RING, blob, owner_id=UUID(int=OWNER.int ^ 1)).code is ErrorCode.SECRET_UNREADABLE
    assert fails(RING, blob, kind="refresh_token").code is ErrorCode.SECRET_UNREADABLE
    assert fails(RING, blob, key_id="2026-12").code is ErrorCode.SECRET_UNREADABLE
    twins = Keyring({"one": KEYS["2026-11"], "two": KEYS["2026-11"]}, active="one")
    assert (
        fails(twins, twins.seal("token", owner_id=OWNER, kind="access_token").blob, key_id="two").code
        is ErrorCode.SECRET_UNREADABLE
    )


def test_old_keys_open_while_the_new_one_seals() -> None:
    old = RING.seal("token", owner_id=OWNER, kind="access_token")
    rotated = Keyring(KEYS, active="2026-12")
    assert rotated.open(old.blob, owner_id=OWNER, kind="access_token", key_id=old.key_id) == b"token"
    assert rotated.seal("token", owner_id=OWNER, kind="access_token").key_id == "2026-12"


def test_a_missing_key_is_said_by_its_id() -> None:
    blob = RING.seal("token", owner_id=OWNER, kind="access_token").blob
    failure = fails(RING, blob, key_id="2025-01")
    assert failure.code is ErrorCode.VAULT_KEY_MISSING
    assert "2025-01" in failure.detail
    assert "\n" not in fails(RING, blob, key_id="a\nb").detail


@pytest.mark.parametrize(
    ("keys", "active"), [({}, "a"), ({"a": b"short"}, "a"), ({"a": bytes(32)}, "b"), ({"A b": bytes(32)}, "A b")]
)
def test_keys_that_cannot_work_are_refused_at_start(keys: dict[str, bytes], active: str) -> None:
    with pytest.raises(Failure) as caught:
        Keyring(keys, active=active)
    assert caught.value.code is ErrorCode.VAULT_KEY_MISSING


def test_nothing_of_a_key_or_a_secret_shows() -> None:
    sealed = RING.seal("token", owner_id=OWNER, kind="access_token")
    shown = repr(RING) + repr(sealed) + str(fails(RING, sealed.blob, kind="other"))
    assert sealed.blob.hex() not in shown
    assert str(KEYS["2026-11"])[2:-1] not in shown
    assert repr(sealed.blob) not in shown
    with pytest.raises(TypeError):
        pickle.dumps(RING)


@given(first=st.tuples(st.uuids(), NAMES, NAMES), second=st.tuples(st.uuids(), NAMES, NAMES))
def test_the_context_is_unambiguous(first: tuple[UUID, str, str], second: tuple[UUID, str, str]) -> None:
    assert (context(*first) == context(*second)) == (first == second)


@pytest.mark.parametrize("name", ["", "a|b", "A", "x" * 65, "a b", "a\n", "é"])
def test_names_that_could_be_ambiguous_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="kind"):
        context(OWNER, name, "k")
    with pytest.raises(ValueError, match="key_id"):
        context(OWNER, "k", name)


def test_a_secret_has_a_size() -> None:
    with pytest.raises(ValueError, match="at most"):
        RING.seal(b"x" * (crypto.PLAINTEXT_BYTES_MAX + 1), owner_id=OWNER, kind="access_token")
