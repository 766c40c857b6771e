"""Certificates that people bring: whether Kafka can serve TLS with a pair, before a broker tries and ends over it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
"""The keys of a Secret of type kubernetes.io/tls."""

_PKCS8: Final = b"-----BEGIN PRIVATE KEY-----"


def flaw_of(data: Mapping[str, str]) -> str:
    """Why Kafka could not serve with the data of a Secret (base64), in words; empty where it can or there is no pair.

    Kafka reads private keys in PKCS #8 alone, of RSA or of an elliptic curve, and a chain in which each certificate is
    issued by the next (Kafka's documentation of ssl.keystore.key, and Java's KeyStore.setKeyEntry). Names and dates
    are the clients' to judge.
    """
    if not (data.get(CERTIFICATE) and data.get(KEY)):
        return ""
    try:
        chain = x509.load_pem_x509_certificates(base64.b64decode(data[CERTIFICATE], validate=True))
    except (ValueError, binascii.Error):
        return f"{CERTIFICATE} holds no certificates in PEM"
    try:
        return _flaw_of_key(base64.b64decode(data[KEY], validate=True), chain[0]) or _flaw_of_chain(chain)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return f"{KEY} or the key of {CERTIFICATE} cannot be read"


def _flaw_of_key(pem: bytes, certificate: x509.Certificate) -> str:
    if pem.count(b"-----BEGIN ") != 1 or _PKCS8 not in pem:
        return f"{KEY} must be one unencrypted key in PKCS #8, which begins with {_PKCS8.decode()}"
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        return f"{KEY} must be a key of RSA or of an elliptic curve (ECDSA)"
    if key.public_key() != certificate.public_key():
        return f"{KEY} is not the key of the first certificate in {CERTIFICATE}"
    return ""


def _flaw_of_chain(chain: Sequence[x509.Certificate]) -> str:
    in_order = all(one.issuer == issuer.subject for one, issuer in pairwise(chain))
    if not in_order or len(set(chain)) < len(chain):
        return f"in {CERTIFICATE} each certificate must be issued by the one after it, and none stand there twice"
    return ""
