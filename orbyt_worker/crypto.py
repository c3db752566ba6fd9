"""Sealing and opening of small secrets (tokens, upload addresses) before they reach SQL. Nothing here does I/O.

Format, so that Python and pgcrypto can open what the other sealed::

    blob    = version ‖ iv ‖ ciphertext ‖ tag
    version = 0x01 (1 byte)                       iv  = 16 random bytes
    ciphertext = AES-256-CBC, PKCS#7 padding      tag = HMAC-SHA-256 (32 bytes) over context ‖ version ‖ iv ‖ ciphertext
    encryption key = HMAC-SHA-256(key = master, message = "orbyt/v1/encrypt")
    MAC key        = HMAC-SHA-256(key = master, message = "orbyt/v1/mac")
    context = "<owner id>|<kind>|<key id>", UTF-8: the row a secret belongs to; a value moved to another row does not open

CBC with a separate MAC rather than GCM because pgcrypto has no authenticated mode (PostgreSQL documentation, pgcrypto, "Raw
Encryption Functions"). The tag is checked, in constant time, before anything is decrypted: no padding oracle.

The same bytes in SQL, with pgcrypto (schema `extensions` on Supabase). `sealed.blob` and `sealed.context` stand for the stored
value and the text above, `key.master` for the 32 bytes of the key. Opening::

    select case when get_byte(body, 0) = 1
        and tag = hmac(convert_to(context, 'UTF8') || body, hmac('orbyt/v1/mac'::bytea, key.master, 'sha256'), 'sha256')
      then convert_from(decrypt_iv(substr(body, 18), hmac('orbyt/v1/encrypt'::bytea, key.master, 'sha256'), substr(body, 2, 16),
        'aes-cbc/pad:pkcs'), 'UTF8') end as plaintext
    from (select substr(blob, 1, length(blob) - 32) as body, substr(blob, length(blob) - 31) as tag, context from sealed) as parts, key

and sealing `plain.plaintext` for `plain.context`::

    select body || hmac(convert_to(context, 'UTF8') || body, hmac('orbyt/v1/mac'::bytea, master, 'sha256'), 'sha256') as blob
    from (
      select context, master, '\\x01'::bytea || iv
        || encrypt_iv(convert_to(plaintext, 'UTF8'), hmac('orbyt/v1/encrypt'::bytea, master, 'sha256'), iv, 'aes-cbc/pad:pkcs') as body
      from plain, key, (select gen_random_bytes(16) as iv) as fresh
    ) as parts

For recovery by a person only: plaintext in a statement can end up in the statement log, so the worker never seals in SQL.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure

MASTER_KEY_BYTES = 32
PLAINTEXT_BYTES_MAX = 64 * 1024
VERSION = b"\x01"
IV_BYTES = 16
BLOCK_BYTES = 16
TAG_BYTES = 32
BLOB_BYTES_MIN = len(VERSION) + IV_BYTES + BLOCK_BYTES + TAG_BYTES

_NAME = re.compile(r"[a-z0-9_.:-]{1,64}")


def context(owner_id: UUID, kind: str, key_id: str) -> bytes:
    """What a secret is bound to. `kind` and `key_id` are 1 to 64 of [a-z0-9_.:-]; a ValueError is a programming mistake.

    Unambiguous: no part can contain the separator (a UUID is 36 hex digits and dashes, the others exclude `|`), so two
    different triples never give the same bytes; and it cannot run over into the blob, whose first byte 0x01 is in no part.
    """
    for name, value in (("kind", kind), ("key_id", key_id)):
        if _NAME.fullmatch(value) is None:
            raise ValueError(f"{name} must be 1 to 64 characters of [a-z0-9_.:-]")
    return f"{owner_id}|{kind}|{key_id}".encode()


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed secret and the id of the key that opens it. The blob may be stored anywhere the key is not."""

    key_id: str
    blob: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Keys:
    encrypt: bytes = field(repr=False)
    mac: bytes = field(repr=False)


class Keyring:
    """The master keys by id, one of them active. Several at once while keys are rotated: old ones open, the active one seals."""

    __slots__ = ("_active", "_keys", "_random_bytes")

    def __init__(
        self, keys: Mapping[str, bytes], active: str, *, random_bytes: Callable[[int], bytes] = os.urandom
    ) -> None:
        """Raises Failure(vault_key_missing) if the active key is not among the keys or a key is not 32 bytes."""
        for key_id, key in keys.items():
            if _NAME.fullmatch(key_id) is None or len(key) != MASTER_KEY_BYTES:
                raise Failure(
                    ErrorCode.VAULT_KEY_MISSING, f"a master key is not {MASTER_KEY_BYTES} bytes, or its id is not valid"
                )
        if active not in keys:
            raise Failure(ErrorCode.VAULT_KEY_MISSING, "the active master key is not there")
        self._active = active
        self._keys = {
            key_id: _Keys(_derive(key, b"orbyt/v1/encrypt"), _derive(key, b"orbyt/v1/mac"))
            for key_id, key in keys.items()
        }
        self._random_bytes = random_bytes

    def __repr__(self) -> str:
        return f"Keyring(keys={sorted(self._keys)}, active={self._active!r})"

    def __reduce__(self) -> str:
        raise TypeError("a keyring is not pickled")

    @property
    def active(self) -> str:
        """Id of the key that seals."""
        return self._active

    @property
    def key_ids(self) -> frozenset[str]:
        return frozenset(self._keys)

    def seal(self, plaintext: str | bytes, *, owner_id: UUID, kind: str) -> Sealed:
        """Seal for one row (`owner_id`) and one purpose (`kind`). Never the same bytes twice. At most 64 KiB (ValueError)."""
        plain = plaintext.encode() if isinstance(plaintext, str) else plaintext
        if len(plain) > PLAINTEXT_BYTES_MAX:
            raise ValueError(f"a secret is at most {PLAINTEXT_BYTES_MAX} bytes")
        keys = self._keys[self._active]
        iv = self._random_bytes(IV_BYTES)
        padder = PKCS7(BLOCK_BYTES * 8).padder()
        encryptor = Cipher(algorithms.AES(keys.encrypt), modes.CBC(iv)).encryptor()
        ciphertext = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
        body = VERSION + iv + ciphertext
        return Sealed(self._active, body + _tag(keys, context(owner_id, kind, self._active), body))

    def open(self, blob: bytes, *, owner_id: UUID, kind: str, key_id: str) -> bytes:
        """The plaintext. Raises Failure: vault_key_missing (unknown key), secret_unreadable (anything else, and no word about what)."""
        keys = self._keys.get(key_id)
        if keys is None:
            named = key_id if _NAME.fullmatch(key_id) else "with an invalid id"
            raise Failure(ErrorCode.VAULT_KEY_MISSING, f"master key {named}")
        blob = bytes(blob)
        body, tag = blob[:-TAG_BYTES], blob[-TAG_BYTES:]
        shaped = (
            len(blob) >= BLOB_BYTES_MIN
            and blob[:1] == VERSION
            and (len(body) - len(VERSION) - IV_BYTES) % BLOCK_BYTES == 0
        )
        if not shaped or not hmac.compare_digest(_tag(keys, context(owner_id, kind, key_id), body), tag):
            raise Failure(ErrorCode.SECRET_UNREADABLE)
        iv, ciphertext = body[len(VERSION) : len(VERSION) + IV_BYTES], body[len(VERSION) + IV_BYTES :]
        decryptor = Cipher(algorithms.AES(keys.encrypt), modes.CBC(iv)).decryptor()
        unpadder = PKCS7(BLOCK_BYTES * 8).unpadder()
        try:
            return unpadder.update(decryptor.update(ciphertext) + decryptor.finalize()) + unpadder.finalize()
        except ValueError:
            # Only with a right tag over a wrong padding: somebody else's sealing code.
            raise Failure(ErrorCode.SECRET_UNREADABLE) from None


def _derive(master: bytes, label: bytes) -> bytes:
    return hmac.digest(master, label, "sha256")


def _tag(keys: _Keys, bound_to: bytes, body: bytes) -> bytes:
    return hmac.digest(keys.mac, bound_to + body, "sha256")
