"""Certificates that people bring, as the data of a Secret of type kubernetes.io/tls."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key, quickly made."""
    return ec.generate_private_key(ec.SECP256R1())


def certificate(subject: str, key: Any, issuer: str = "", issuer_key: Any = None) -> x509.Certificate:
    """A certificate for a key; signed by itself unless there is an issuer."""
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(_name(issuer or subject), _name(subject), key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now)
    signer = issuer_key or key
    algorithm = hashes.SHA256() if isinstance(signer, ec.EllipticCurvePrivateKey) else None
    return builder.not_valid_after(now + datetime.timedelta(days=365)).sign(signer, algorithm)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def pem(*certificates: x509.Certificate) -> bytes:
    """A chain as text."""
    return b"".join(one.public_bytes(PEM) for one in certificates)


def key_pem(key: Any, form: Any = PKCS8, encryption: Any = PLAIN) -> bytes:
    """A private key as text."""
    text: bytes = key.private_bytes(PEM, form, encryption)
    return text


def data(crt: bytes, key: bytes) -> dict[str, str]:
    """What the Secret holds."""
    return {"tls.crt": base64.b64encode(crt).decode(), "tls.key": base64.b64encode(key).decode()}


def good_pair(hosts: Sequence[str] = ("kafka",)) -> dict[str, str]:
    """A pair that will do."""
    key = new_key()
    return data(pem(certificate(hosts[0], key)), key_pem(key))
