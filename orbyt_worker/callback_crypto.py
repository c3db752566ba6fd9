"""Sealing of the authorization code on its way from the callback door to the worker. Nothing here does I/O.

The door (Edge Function, or the worker's HTTP endpoint) knows only a public key: what it writes into the database can be opened by
nobody but a worker, so neither a row nor a statement log ever shows a code. The private key lies in the database, sealed with
the master key (crypto.py).

Format, so that WebCrypto can seal what Python opens::

    sealed  = base64 (standard alphabet, padded) of  version ‖ length ‖ wrapped ‖ iv ‖ ciphertext
    version = 0x01 (1 byte)                  length = of `wrapped`, 2 bytes, big-endian (256 with a key of 2048 bits)
    wrapped = RSA-OAEP of the 32 bytes of a fresh AES key; SHA-256 for both hash and MGF1, no label (JWA "RSA-OAEP-256")
    iv      = 12 random bytes                ciphertext = AES-256-GCM of the code (UTF-8), with its tag of 16 bytes at the end
    AAD     = the hash of the state in lower-case hex, 64 bytes of ASCII: a code moved to another session does not open
    hash of the state = SHA-256 of the state's UTF-8 bytes

The same with WebCrypto, `jwk` and `stateHash` given::

    const rsa = await crypto.subtle.importKey("jwk", jwk, { name: "RSA-OAEP", hash: "SHA-256" }, false, ["encrypt"]);
    const secret = crypto.getRandomValues(new Uint8Array(32)), iv = crypto.getRandomValues(new Uint8Array(12));
    const aes = await crypto.subtle.importKey("raw", secret, "AES-GCM", false, ["encrypt"]);
    const text = new TextEncoder();
    const wrapped = new Uint8Array(await crypto.subtle.encrypt({ name: "RSA-OAEP" }, rsa, secret));
    const ciphertext = new Uint8Array(await crypto.subtle.encrypt(
      { name: "AES-GCM", iv, additionalData: text.encode(stateHash), tagLength: 128 }, aes, text.encode(code)));
    const sealed = Uint8Array.of(1, wrapped.length >> 8, wrapped.length & 255, ...wrapped, ...iv, ...ciphertext);
    btoa(String.fromCharCode(...sealed));

Sources: RFC 7518 (JWA) section 4.3, RFC 7517 (JWK); W3C Web Cryptography API, "RSA-OAEP" and "AES-GCM", read 2026-11.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure

KEY_BITS = 2048
KEY_BITS_MAX = 4096
EXPONENT = 65_537
VERSION = b"\x01"
LENGTH_BYTES = 2
SECRET_BYTES = 32
IV_BYTES = 12
TAG_BYTES = 16
# Google's codes are the longest (256 bytes by its own limit); Meta's are not documented.
CODE_BYTES_MAX = 4096
SEALED_BYTES_MAX = len(VERSION) + LENGTH_BYTES + KEY_BITS_MAX // 8 + IV_BYTES + CODE_BYTES_MAX + TAG_BYTES

_STATE_HASH = re.compile(r"[0-9a-f]{64}")

Jwk = Mapping[str, str]


def state_hash(state: str) -> str:
    """Under which a session is found: the state itself is stored nowhere."""
    return hashlib.sha256(state.encode()).hexdigest()


class PrivateKey:
    """The half that opens. Serialised as PKCS#8 DER, to be sealed with a master key."""

    __slots__ = ("_key",)

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> PrivateKey:
        """Takes a good part of a second of CPU."""
        return cls(rsa.generate_private_key(public_exponent=EXPONENT, key_size=KEY_BITS))

    @classmethod
    def from_der(cls, der: bytes) -> PrivateKey:
        """Raises Failure(secret_unreadable) for anything but an RSA key."""
        try:
            key = serialization.load_der_private_key(der, password=None)
        except ValueError:
            raise Failure(ErrorCode.SECRET_UNREADABLE, "callback key") from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise Failure(ErrorCode.SECRET_UNREADABLE, "callback key")
        return cls(key)

    def __repr__(self) -> str:
        return "PrivateKey()"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled")

    def der(self) -> bytes:
        return self._key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def public_jwk(self, key_id: str) -> dict[str, str]:
        """What the doors are given; `crypto.subtle.importKey("jwk", …)` takes it as it is."""
        numbers = self._key.public_key().public_numbers()
        return {
            "kty": "RSA",
            "use": "enc",
            "alg": "RSA-OAEP-256",
            "kid": key_id,
            "n": _base64url(numbers.n),
            "e": _base64url(numbers.e),
        }

    def open(self, sealed: bytes, *, state_hash: str) -> str:
        """The code. Raises Failure(secret_unreadable), and no word about what was wrong."""
        try:
            return self._open(bytes(sealed), state_hash)
        except (ValueError, InvalidTag):
            raise Failure(ErrorCode.SECRET_UNREADABLE, "authorization code") from None

    def _open(self, sealed: bytes, state_hash: str) -> str:
        head = len(VERSION) + LENGTH_BYTES
        if len(sealed) > SEALED_BYTES_MAX or sealed[: len(VERSION)] != VERSION:
            raise ValueError
        iv_at = head + int.from_bytes(sealed[len(VERSION) : head], "big")
        text_at = iv_at + IV_BYTES
        if len(sealed) < text_at + TAG_BYTES:
            raise ValueError
        secret = self._key.decrypt(sealed[head:iv_at], _oaep())
        plain = AESGCM(secret).decrypt(sealed[iv_at:text_at], sealed[text_at:], _bound_to(state_hash))
        return plain.decode()


def seal(code: str, *, jwk: Jwk, state_hash: str) -> str:
    """What the door writes instead of the code, in base64. A ValueError is a programming mistake, or a code beyond all measure."""
    plain = code.encode()
    if not plain or len(plain) > CODE_BYTES_MAX:
        raise ValueError(f"a code has 1 to {CODE_BYTES_MAX} bytes")
    secret, iv = AESGCM.generate_key(SECRET_BYTES * 8), os.urandom(IV_BYTES)
    wrapped = _public_key(jwk).encrypt(secret, _oaep())
    ciphertext = AESGCM(secret).encrypt(iv, plain, _bound_to(state_hash))
    sealed = VERSION + len(wrapped).to_bytes(LENGTH_BYTES, "big") + wrapped + iv + ciphertext
    return base64.b64encode(sealed).decode()


def _public_key(jwk: Jwk) -> rsa.RSAPublicKey:
    if jwk.get("kty") != "RSA" or jwk.get("alg", "RSA-OAEP-256") != "RSA-OAEP-256":
        raise ValueError("the callback key is not an RSA key for RSA-OAEP-256")
    key = rsa.RSAPublicNumbers(n=_number(jwk["n"]), e=_number(jwk["e"])).public_key()
    if not KEY_BITS <= key.key_size <= KEY_BITS_MAX:
        raise ValueError(f"the callback key has {key.key_size} bits")
    return key


def _bound_to(state_hash: str) -> bytes:
    if _STATE_HASH.fullmatch(state_hash) is None:
        raise ValueError("the hash of the state is 64 hex digits")
    return state_hash.encode()


def _oaep() -> padding.OAEP:
    return padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


def _base64url(number: int) -> str:
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _number(text: str) -> int:
    try:
        return int.from_bytes(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True), "big")
    except binascii.Error:
        raise ValueError("the callback key is not base64url") from None
