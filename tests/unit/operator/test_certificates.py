"""Certificates that people bring are judged before a broker tries them: a bad one would end it."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from auren_operator.api.certificates import flaw_of
from auren_operator.api.observed import DataSeen, see
from tests.unit.operator.people_certificates import certificate, data, good_pair, key_pem, new_key, pem

ROOT_KEY, MIDDLE_KEY, KEY = new_key(), new_key(), new_key()
ROOT = certificate("root", ROOT_KEY)
MIDDLE = certificate("middle", MIDDLE_KEY, "root", ROOT_KEY)
LEAF = certificate("kafka", KEY, "middle", MIDDLE_KEY)
ED = ed25519.Ed25519PrivateKey.generate()

ORDER = "in tls.crt each certificate must be issued by the one after it, and none stand there twice"
FORM = "tls.key must be one unencrypted key in PKCS #8, which begins with -----BEGIN PRIVATE KEY-----"
SEC1 = serialization.PrivateFormat.TraditionalOpenSSL
LOCKED = serialization.BestAvailableEncryption(b"x")


@pytest.mark.parametrize(
    "pair",
    [
        good_pair(),
        data(pem(LEAF), key_pem(KEY)),
        data(pem(LEAF, MIDDLE), key_pem(KEY)),
        data(b"subject=kafka\n" + pem(LEAF, MIDDLE, ROOT), b"Bag Attributes\n" + key_pem(KEY)),
    ],
    ids=["signed by itself", "alone", "with its issuer", "with all its issuers, and words around"],
)
def test_a_pair_that_kafka_reads_has_no_flaw(pair: dict[str, str]) -> None:
    assert flaw_of(pair) == ""


@pytest.mark.parametrize(
    ("crt", "key", "flaw"),
    [
        (b"x", key_pem(KEY), "tls.crt holds no certificates in PEM"),
        (key_pem(KEY), key_pem(KEY), "tls.crt holds no certificates in PEM"),
        (pem(LEAF), key_pem(KEY, SEC1), FORM),
        (pem(LEAF), key_pem(KEY, encryption=LOCKED), FORM),
        (pem(LEAF), key_pem(KEY) + key_pem(MIDDLE_KEY), FORM),
        (pem(LEAF), pem(LEAF), FORM),
        (pem(LEAF), b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "tls.key or the key of tls.crt"),
        (pem(certificate("kafka", ED)), key_pem(ED), "tls.key must be a key of RSA or of an elliptic curve (ECDSA)"),
        (pem(LEAF), key_pem(MIDDLE_KEY), "tls.key is not the key of the first certificate in tls.crt"),
        (pem(MIDDLE, LEAF), key_pem(KEY), "tls.key is not the key of the first certificate in tls.crt"),
        (pem(LEAF, ROOT, MIDDLE), key_pem(KEY), ORDER),
        (pem(LEAF, ROOT), key_pem(KEY), ORDER),
        (pem(LEAF, MIDDLE, ROOT, ROOT), key_pem(KEY), ORDER),
    ],
)
def test_what_kafka_does_not_read_is_said_in_words(crt: bytes, key: bytes, flaw: str) -> None:
    assert flaw_of(data(crt, key)).startswith(flaw)


@pytest.mark.parametrize("key", ["tls.crt", "tls.key"])
def test_what_is_no_base64_is_a_flaw_too(key: str) -> None:
    assert flaw_of({**good_pair(), key: "*"}) != ""


def test_only_what_looks_like_a_pair_is_judged() -> None:
    assert flaw_of({}) == flaw_of({"tls.crt": "*"}) == flaw_of({"tls.crt": "*", "tls.key": ""}) == ""
    meta = {"name": "s", "namespace": "people", "uid": "u"}
    seen = see("Secret", {"metadata": meta, "data": data(pem(LEAF), key_pem(MIDDLE_KEY))}).detail
    assert isinstance(seen, DataSeen)
    assert "is not the key" in seen.flaw
    assert seen != see("Secret", {"metadata": meta, "data": data(pem(LEAF), key_pem(KEY))}).detail
