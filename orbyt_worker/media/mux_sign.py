"""Tokens for signed Mux playback ids.

Source: Mux docs "Secure video playback": RS256; header kid; claims sub (playback id), aud "v" (video, MP4 included), exp.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.runtime import Runtime

# Made anew for each request, so it has to outlast one transfer only: the longest ones take hours.
TOKEN_SECONDS = 12 * 3600


class Signer:
    """Makes tokens with one signing key. `private_key` is what Mux shows: base64 of a PEM; a bare PEM is taken too."""

    def __init__(self, runtime: Runtime, key_id: str, private_key: str) -> None:
        self._runtime = runtime
        self._key_id = key_id
        self._key = _load(private_key)

    def token(self, playback_id: str, *, seconds: float = TOKEN_SECONDS) -> str:
        """A secret: goes into a URL's query and nowhere else. Good for `seconds`."""
        expires_at = int(self._runtime.now().timestamp() + seconds) + 1
        return jwt.encode(
            {"sub": playback_id, "aud": "v", "exp": expires_at},
            self._key,
            algorithm="RS256",
            headers={"kid": self._key_id},
        )

    def maker(self, playback_id: str) -> Callable[[], str]:
        """A function that makes a fresh token each time it is called."""
        return lambda: self.token(playback_id)


def lives_until(token: str) -> float:
    """When a token ends by its own words, as a Unix time; 0 when it does not say. Whether it is good is for Mux to say."""
    try:
        return float(jwt.decode(token, options={"verify_signature": False}).get("exp", 0))
    except (jwt.PyJWTError, TypeError, ValueError):
        return 0.0


def _load(private_key: str) -> RSAPrivateKey:
    try:
        text = private_key.strip().encode("ascii")
        key = load_pem_private_key(text if text.startswith(b"-----BEGIN") else base64.b64decode(text), password=None)
    except (ValueError, TypeError, UnicodeEncodeError, binascii.Error):
        # Without the cause: it may quote the key.
        raise Failure(ErrorCode.MUX_SIGNING_KEY_MISSING, "the configured Mux signing key cannot be read") from None
    if not isinstance(key, RSAPrivateKey):
        raise Failure(ErrorCode.MUX_SIGNING_KEY_MISSING, "the configured Mux signing key is not an RSA key")
    return key
