"""Generated Secrets: their values are what their readers expect, and random."""

from __future__ import annotations

import base64
import json
import re

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from auren_operator.components import stack as whole
from auren_operator.manifests.model import SecretSpec
from auren_operator.manifests.secrets import generate
from tests.unit.operator.built import a_stack, secrets_of

STACK = a_stack({})


@pytest.mark.parametrize("secret", secrets_of(STACK), ids=lambda secret: secret.name)
def test_every_key_gets_a_value_of_its_own_each_time(secret: SecretSpec) -> None:
    first, second = generate(secret), generate(secret)
    assert first.keys() == secret.keys.keys()
    assert all(first.values())
    assert len({*first.values(), *second.values()}) == 2 * len(first)


def test_passwords_need_no_quoting_anywhere() -> None:
    for secret in secrets_of(STACK):
        for key, value in generate(secret).items():
            if secret.keys[key] == "password":
                assert re.fullmatch(r"[A-Za-z0-9]{32}", value)


def test_a_token_signed_with_the_private_key_is_good_by_the_public_set() -> None:
    (secret,) = whole.secrets(STACK)
    values = generate(secret)
    (public,) = json.loads(values["jwks.json"])["keys"]
    private = load_pem_private_key(values["private.pem"].encode(), password=None)
    token = jwt.encode({"sub": "someone"}, private, algorithm="ES256", headers={"kid": public["kid"]})  # type: ignore[arg-type] # any key type
    assert jwt.decode(token, jwt.PyJWK(public), algorithms=["ES256"]) == {"sub": "someone"}
    assert "d" not in public
    assert set(public) == {"kty", "crv", "x", "y", "use", "alg", "kid"}


def test_the_log_key_is_32_bytes_in_hex() -> None:
    (secret,) = whole.secrets(STACK)
    assert len(bytes.fromhex(generate(secret)["log-key"])) == 32


def test_a_cluster_id_is_what_kafka_takes() -> None:
    spec = SecretSpec("any", "kafka", {"id": "cluster-id"})
    for _ in range(300):
        value = generate(spec)["id"]
        assert len(base64.urlsafe_b64decode(value + "==")) == 16
        assert not value.startswith("-")


def test_a_public_set_without_a_signing_key_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a signing key"):
        generate(SecretSpec("any", "stack", {"jwks.json": "jwks"}))


def test_the_secrets_that_guard_data_name_the_volumes_that_they_guard() -> None:
    guards = {secret.name: secret.guarded_volumes for secret in secrets_of(STACK) if secret.guards_data}
    assert guards == {
        "demo-kafka": ("data-demo-kafka-0", "data-demo-kafka-1", "data-demo-kafka-2"),
        "demo-timescaledb": ("data-demo-timescaledb-0",),
        "demo-biometric-bridge-keyring": ("data-demo-timescaledb-0",),
    }
