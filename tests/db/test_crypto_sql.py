"""Sealed in Python, opened by pgcrypto in SQL, and the other way round; a value moved to another row does not open."""

from __future__ import annotations

import os
import uuid

import pytest

from orbyt_worker.crypto import Keyring, context
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from tests.fix_postgres import Database

# What docs/operating describes for an emergency without the worker. The MAC is compared before anything is decrypted.
OPEN = """
with keys as (
  select extensions.hmac('orbyt/v1/encrypt'::bytea, %(master)s::bytea, 'sha256') as encrypt_key,
         extensions.hmac('orbyt/v1/mac'::bytea, %(master)s::bytea, 'sha256') as mac_key
), parts as (
  select substr(%(blob)s::bytea, 1, 1) as version, substr(%(blob)s::bytea, 2, 16) as iv,
         substr(%(blob)s::bytea, 18, length(%(blob)s::bytea) - 49) as ciphertext, substr(%(blob)s::bytea, length(%(blob)s::bytea) - 31) as mac
)
select case
  when mac = extensions.hmac(%(context)s::bytea || version || iv || ciphertext, mac_key, 'sha256')
  then extensions.decrypt_iv(ciphertext, encrypt_key, iv, 'aes-cbc/pad:pkcs')
end as plain
from keys, parts
"""
SEAL = """
with keys as (
  select extensions.hmac('orbyt/v1/encrypt'::bytea, %(master)s::bytea, 'sha256') as encrypt_key,
         extensions.hmac('orbyt/v1/mac'::bytea, %(master)s::bytea, 'sha256') as mac_key
), body as (
  select '\\x01'::bytea as version, %(iv)s::bytea as iv,
         extensions.encrypt_iv(%(plain)s::bytea, encrypt_key, %(iv)s::bytea, 'aes-cbc/pad:pkcs') as ciphertext
  from keys
)
select version || iv || ciphertext || extensions.hmac(%(context)s::bytea || version || iv || ciphertext, mac_key, 'sha256') as blob
from keys, body
"""


@pytest.mark.parametrize("plain", [b"", b"x", b"1//0abc-token", "Grüße ✓".encode(), os.urandom(4096)])
async def test_both_ways(db: Database, plain: bytes) -> None:
    master, owner_id = os.urandom(32), uuid.uuid4()
    keyring = Keyring({"k1": master}, active="k1")
    sealed = keyring.seal(plain, owner_id=owner_id, kind="refresh_token")
    given = {"master": master, "context": context(owner_id, "refresh_token", "k1")}
    assert await db.value(OPEN, {**given, "blob": sealed.blob}) == plain
    blob = await db.value(SEAL, {**given, "plain": plain, "iv": os.urandom(16)})
    assert keyring.open(blob, owner_id=owner_id, kind="refresh_token", key_id="k1") == plain


async def test_a_value_moved_to_another_row_does_not_open(db: Database) -> None:
    master, owner_id = os.urandom(32), uuid.uuid4()
    keyring = Keyring({"k1": master}, active="k1")
    sealed = keyring.seal(b"secret", owner_id=owner_id, kind="refresh_token")
    for other_owner, other_kind in ((uuid.uuid4(), "refresh_token"), (owner_id, "access_token")):
        with pytest.raises(Failure) as failure:
            keyring.open(sealed.blob, owner_id=other_owner, kind=other_kind, key_id="k1")
        assert failure.value.code == ErrorCode.SECRET_UNREADABLE
        given = {"master": master, "context": context(other_owner, other_kind, "k1"), "blob": sealed.blob}
        assert await db.value(OPEN, given) is None
