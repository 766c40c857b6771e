"""Generated Secrets: how their values come into being, and how pods mount them.

`generate` is the only function of the builders whose answer is random. Its values are written once, by the reconcile,
and never appear in a manifest.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets as randomness
import string
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from auren_operator.api import names
from auren_operator.manifests.meta import digest
from auren_operator.manifests.model import Facts, Generator, SecretSpec

PASSWORD_LENGTH: Final = 32
"""Letters and digits only, so that no configuration format has to quote them: about 190 bits."""
KEY_BYTES: Final = 32
P256_COORDINATE_BYTES: Final = 32
FILE_MODE: Final = 0o440
"""Readable by the pod's group (``fsGroup``) and nobody else."""


def generate(spec: SecretSpec) -> dict[str, str]:
    """New values for every key of ``spec``, as text. A ``jwks`` is the public half of the Secret's ``signing-key``."""
    values: dict[str, str] = {}
    signing_key: ec.EllipticCurvePrivateKey | None = None
    for key, generator in _signing_keys_first(spec.keys):
        if generator == "signing-key":
            signing_key = ec.generate_private_key(ec.SECP256R1())
            values[key] = _pem(signing_key)
        elif generator == "jwks":
            if signing_key is None:
                raise ValueError(f"Secret {spec.name}: {key} needs a signing key beside it")
            values[key] = _jwks(signing_key)
        else:
            values[key] = _RANDOM[generator]()
    return values


def _signing_keys_first(keys: Mapping[str, Generator]) -> list[tuple[str, Generator]]:
    return sorted(keys.items(), key=lambda item: item[1] != "signing-key")


def _password() -> str:
    alphabet = string.ascii_letters + string.digits
    return "".join(randomness.choice(alphabet) for _ in range(PASSWORD_LENGTH))


def _cluster_id() -> str:
    """A Kafka cluster id: 16 random bytes, base64url without padding, not beginning with a dash (as Kafka's own)."""
    while (text := randomness.token_urlsafe(16)).startswith("-"):
        pass
    return text


def _key() -> str:
    return randomness.token_hex(KEY_BYTES)


def _keyring() -> str:
    """One key for people's OAuth tokens, as the bridge reads it: ``id:hex``. People add lines to change it."""
    return f"1:{_key()}\n"


_RANDOM: Final = {"password": _password, "cluster-id": _cluster_id, "key": _key, "keyring": _keyring}


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return encoded.decode()


def _jwks(key: ec.EllipticCurvePrivateKey) -> str:
    """The public key as a JSON Web Key Set (RFC 7517); its ``kid`` is the thumbprint of RFC 7638."""
    point = key.public_key().public_numbers()
    public = {"crv": "P-256", "kty": "EC", "x": _coordinate(point.x), "y": _coordinate(point.y)}
    canonical = json.dumps(public, sort_keys=True, separators=(",", ":"))
    kid = _base64url(hashlib.sha256(canonical.encode()).digest())
    return json.dumps({"keys": [{**public, "alg": "ES256", "use": "sig", "kid": kid}]})


def _coordinate(value: int) -> str:
    return _base64url(value.to_bytes(P256_COORDINATE_BYTES, "big"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def have_secrets(facts: Facts, secrets: Iterable[str]) -> bool:
    """Whether every one of these Secrets exists and is complete."""
    return all(facts.hash_of(name) for name in secrets)


def secrets_annotation(facts: Facts, secrets: Iterable[str]) -> dict[str, str]:
    """The pod annotation by which a rotated Secret rolls the pods that mount it, and no others."""
    return {names.ANNOTATION_SECRETS_HASH: digest({name: facts.hash_of(name) for name in secrets})}


def secret_files(
    files: Mapping[str, tuple[str, str]], optional: Mapping[str, tuple[str, str]] | None = None
) -> dict[str, Any]:
    """The volume ``secrets``: file name → (Secret, key), all in one directory; pods start without the optional ones."""
    sources: list[dict[str, Any]] = [{"secret": {"name": name, "items": items}} for name, items in _by_secret(files)]
    sources += [
        {"secret": {"name": name, "items": items, "optional": True}} for name, items in _by_secret(optional or {})
    ]
    return {"name": "secrets", "projected": {"defaultMode": FILE_MODE, "sources": sources}}


def _by_secret(files: Mapping[str, tuple[str, str]]) -> list[tuple[str, list[dict[str, str]]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for path, (secret, key) in sorted(files.items()):
        found.setdefault(secret, []).append({"key": key, "path": path})
    return sorted(found.items())


def optional_files(name: str, secret: str, keys: Iterable[str]) -> dict[str, Any]:
    """A volume with those of ``keys`` that a Secret has; empty while there is no such Secret, so that pods start."""
    items = [{"key": key, "path": key} for key in keys]
    return {
        "name": name,
        "secret": {"secretName": secret, "optional": True, "defaultMode": FILE_MODE, "items": items},
    }
