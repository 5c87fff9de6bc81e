"""The secrets of Lethe: one connection, `lethe_keys`, from which every key is derived for its one purpose.

The connection's password is a master secret (32 random bytes, base64); its extra field `signing_key` is the Ed25519
private key of certificates (32 bytes, base64). `lethe keys new` makes both. They are never written anywhere else.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import os
from dataclasses import dataclass, field, replace
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lethe.connections import Resolver
from lethe.errors import ConnectionMissing, EvidenceError

CONNECTION_ID = "lethe_keys"
_NONCE_BYTES = 12
_EARLIER = "earlier-secret"
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Keys:
    """Derived keys (HKDF-SHA256, RFC 5869). Equal master secrets give equal keys."""

    _master: bytes = field(repr=False)
    _signing_seed: bytes | None = field(default=None, repr=False)

    def derive(self, purpose: str) -> bytes:
        """A 32-byte key for one purpose, unrelated to the keys for others."""
        return HKDF(algorithm=hashes.SHA256(), length=_KEY_BYTES, salt=None, info=b"lethe/" + purpose.encode()).derive(
            self._master
        )

    def digest(self, purpose: str, text: bytes) -> bytes:
        """The keyed digest (HMAC-SHA256, 32 bytes) of something that must not be guessable from its digest."""
        return hmac.digest(self.derive(purpose), text, "sha256")

    def encrypt(self, purpose: str, plain: bytes, *, bound_to: bytes) -> bytes:
        """Encrypt and authenticate (AES-256-GCM, random nonce), bound to a context that decryption must repeat."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self.derive(purpose)).encrypt(nonce, plain, bound_to)

    def decrypt(self, purpose: str, cipher: bytes, *, bound_to: bytes) -> bytes:
        """Undo `encrypt`.

        Raises:
            EvidenceError: if the key is another one, or the text or its context was changed.
        """
        try:
            return AESGCM(self.derive(purpose)).decrypt(cipher[:_NONCE_BYTES], cipher[_NONCE_BYTES:], bound_to)
        except InvalidTag:
            raise EvidenceError(
                f"connection {CONNECTION_ID}: its master secret does not open what is stored, or that was "
                "changed: give the connection the secret that it was stored with"
            ) from None

    def signing_key(self) -> Ed25519PrivateKey:
        """The Ed25519 private key of certificates.

        Raises:
            EvidenceError: if the connection has none.
        """
        if self._signing_seed is None:
            raise EvidenceError(
                f"connection {CONNECTION_ID}: its extra field signing_key is missing; see `lethe keys new`"
            )
        return Ed25519PrivateKey.from_private_bytes(self._signing_seed)

    @property
    def check(self) -> str:
        """What tells the master secret from others without revealing it: 64 hexadecimal digits."""
        return self.digest("secret-check", b"lethe").hex()

    def with_new_signing_key(self) -> Keys:
        """These keys with another signing key, a new one."""
        return replace(self, _signing_seed=os.urandom(_KEY_BYTES))

    def with_new_master_secret(self) -> Keys:
        """These keys with another master secret, a new one."""
        return replace(self, _master=os.urandom(_KEY_BYTES))

    def sealed_for(self, later: Keys) -> bytes:
        """The master secret, encrypted for who has the one that comes in its place."""
        return later.encrypt(_EARLIER, self._master, bound_to=f"{self.check}/{later.check}".encode())

    def earlier(self, sealed: bytes, check: str) -> Self:
        """The keys of the master secret of a check value that `sealed_for` encrypted for this one.

        Raises:
            EvidenceError: if it was sealed for another one, is another one, or was changed.
        """
        return replace(self, _master=self.decrypt(_EARLIER, sealed, bound_to=f"{check}/{self.check}".encode()))

    def as_connection(self) -> str:
        """The connection `lethe_keys` that has them, in Airflow's JSON format."""
        extra = {"signing_key": base64.b64encode(self._signing_seed).decode()} if self._signing_seed else {}
        password = base64.b64encode(self._master).decode()
        return json.dumps({"conn_type": "generic", "password": password, "extra": extra})


def load_keys(resolve: Resolver) -> Keys:
    """The keys behind the connection `lethe_keys`.

    Raises:
        ConnectionMissing: if it is not defined, or its secrets are not 32 bytes of base64.
    """
    connection = resolve(CONNECTION_ID)
    seed = connection.extra.get("signing_key")
    return Keys(
        _master=_secret("password", connection.password or ""),
        _signing_seed=_secret("extra.signing_key", str(seed)) if seed else None,
    )


def _secret(name: str, text: str) -> bytes:
    try:
        secret = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != _KEY_BYTES:
        raise ConnectionMissing(
            f"connection {CONNECTION_ID}: {name} must be 32 bytes in base64; `lethe keys new` makes such a connection"
        )
    return secret


def new_connection() -> str:
    """A fresh `lethe_keys` connection in Airflow's JSON format."""
    return Keys(_master=os.urandom(_KEY_BYTES)).with_new_signing_key().as_connection()
