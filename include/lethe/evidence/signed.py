"""Signed documents: strict JSON in, canonical JSON (RFC 8785) under an Ed25519 signature (RFC 8032) out.

What is signed is the canonical form, so white space and the order of fields do not matter, and everything else does.
Nothing here needs a database or a secret to check a document: the public key is enough.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from lethe.errors import EvidenceError
from lethe.keys import Keys

MOST_BYTES = 32 * 1024 * 1024
"""A larger document is refused: certificates have some kilobytes."""

Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="32 bytes in hexadecimal.")]
Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$", description="64 bytes in hexadecimal.")]


class Document(BaseModel):
    """Base of what is signed: immutable, strict, and nothing that is not declared is accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Grown(Document):
    """A part of a document that has got fields since documents were first written: one without them stays as it is."""

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        return {name: value for name, value in handler(self).items() if name in self.model_fields_set}


DocumentT = TypeVar("DocumentT", bound=Document)


class Signature(Document):
    """An Ed25519 signature with the public key that it can be checked by."""

    algorithm: Literal["Ed25519"] = "Ed25519"
    key_id: Hex32 = Field(description="SHA-256 of the public key.")
    public_key: Hex32
    value: Hex64

    @classmethod
    def of(cls, keys: Keys, content: object) -> Self:
        """Sign the canonical form of some content.

        Raises:
            EvidenceError: if there is no signing key.
        """
        private = keys.signing_key()
        public = private.public_key()
        return cls(
            key_id=key_id(public),
            public_key=public.public_bytes_raw().hex(),
            value=private.sign(canonical(content)).hex(),
        )

    def require(self, content: object, trusted: Sequence[Ed25519PublicKey], *, what: str) -> bool:
        """Check the signature of some content; say whether it is by one of the trusted keys.

        Without trusted keys nobody is vouched for: False is returned, and only self-consistency is known.

        Raises:
            EvidenceError: if the content was changed since it was signed, or was signed by another key.
        """
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.public_key))
        if self.key_id != key_id(public):
            raise EvidenceError(f"{what}: its key id is not that of its public key; it was changed")
        if trusted and self.key_id not in {key_id(key) for key in trusted}:
            raise EvidenceError(
                f"{what}: it is signed by another key (id {self.key_id[:16]}…) than the one it was to be checked by"
            )
        try:
            public.verify(bytes.fromhex(self.value), canonical(content))
        except InvalidSignature:
            raise EvidenceError(
                f"{what}: the signature does not hold; it was changed since it was signed, or never was signed"
            ) from None
        return bool(trusted)


def canonical(content: object) -> bytes:
    """The canonical JSON of plain content.

    Raises:
        EvidenceError: if it has none (numbers out of range, text that is not Unicode).
    """
    try:
        return rfc8785.dumps(content)  # type: ignore[arg-type]
    except (ValueError, RecursionError):
        raise EvidenceError("not JSON that can be signed: a number out of range, or text that is not Unicode") from None


def read_json(data: bytes, *, what: str) -> dict[str, object]:
    """Read a JSON object strictly: UTF-8, no field twice, no NaN, nothing after its end.

    Raises:
        EvidenceError: if it is not one. `what` names it in messages.
    """
    if len(data) > MOST_BYTES:
        raise EvidenceError(f"{what}: larger than {MOST_BYTES // 2**20} MB, which no document of Lethe is")
    try:
        content = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except EvidenceError as error:
        raise EvidenceError(f"{what}: {error}") from None
    except (ValueError, RecursionError):
        raise EvidenceError(f"{what}: not a JSON document") from None
    if not isinstance(content, dict):
        raise EvidenceError(f"{what}: not a JSON object")
    return content


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise EvidenceError("a field is there twice")
    return fields


def _no_constant(_name: str) -> object:
    raise EvidenceError("a number that JSON does not have")


def read_document(model: type[DocumentT], content: object, *, what: str) -> DocumentT:
    """Content as a document, strictly typed, every field there and each written as Lethe writes it.

    Raises:
        EvidenceError: naming the fields that are unknown, missing or of another type.
    """
    try:
        text = canonical(content)
        document = model.model_validate_json(text, strict=True)
    except EvidenceError as error:
        raise EvidenceError(f"{what}: {error}") from None
    except ValidationError as error:
        fields = sorted({".".join(str(part) for part in detail["loc"]) or "all of it" for detail in error.errors()})
        raise EvidenceError(f"{what}: not as Lethe writes it; look at {', '.join(fields[:5])}") from None
    if canonical(document.model_dump(mode="json")) != text:  # a field left out that has a default, another spelling
        raise EvidenceError(f"{what}: not as Lethe writes it; a field is missing, or a moment is written otherwise")
    return document


# --- public keys ----------------------------------------------------------------------------------------------------


def key_id(key: Ed25519PublicKey) -> str:
    """SHA-256 of the 32 bytes of a public key, in hexadecimal."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def public_pem(key: Ed25519PublicKey) -> str:
    """A public key as a PEM text (SubjectPublicKeyInfo), which OpenSSL reads too."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def read_public_key(path: Path) -> Ed25519PublicKey:
    """The public key in a PEM file, as `lethe keys public` prints it.

    Raises:
        EvidenceError: if there is no such file, or no Ed25519 public key in it.
    """
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read ({error.strerror}): name another file") from None
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise EvidenceError(f"{path}: not an Ed25519 public key in PEM; `lethe keys public` prints one")
    return key


def read_file(path: Path) -> bytes:
    """The bytes of a document's file, as far as it may be large.

    Raises:
        EvidenceError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read ({error.strerror}): name another file") from None
