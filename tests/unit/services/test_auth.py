"""Tokens: who is let in, who is not, and that the answer says nothing of the token."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import SecretStr

from auren import auth
from auren.auth import (
    ForbiddenError,
    NotConfiguredError,
    Principal,
    Revocations,
    UnauthorizedError,
    Verifier,
    jwks,
    main,
    mint,
    public_keys,
    thumbprint,
)
from auren.health import UnhealthyError
from auren.link import UnavailableError
from auren.settings import ServiceSettings

KEY, OTHER_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def revoked(*token_ids: str) -> Callable[[], Awaitable[frozenset[str]]]:
    async def load() -> frozenset[str]:
        return frozenset(token_ids)

    return load


async def verifier(
    keys: dict[str, Any] | None = None, load: Callable[[], Awaitable[frozenset[str]]] | None = None
) -> Verifier:
    """A verifier of KEY with a list of revoked tokens that has been read."""
    revocations = Revocations(load or revoked())
    await revocations.refresh()
    text = json.dumps(keys or jwks(KEY.public_key()))
    settings = ServiceSettings(auth_jwks=SecretStr(text), auth_issuer="stack", auth_audience="auren")
    return Verifier(settings, revocations)


def token(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | str = KEY,
    algorithm: str = "ES256",
    header: dict[str, Any] | None = None,
    without: str = "",
    **claims: Any,
) -> str:
    """A token that is right in all but what the arguments say."""
    all_claims = {
        "iss": "stack",
        "aud": "auren",
        "sub": "anna",
        "scope": "push:healthkit read:biometrics",
        "exp": int(time.time()) + 60,
        "jti": "1",
        **claims,
    }
    all_claims.pop(without, None)
    return jwt.encode(all_claims, key, algorithm=algorithm, headers=header)


async def test_a_right_token_says_who_calls() -> None:
    caller = (await verifier()).principal(f"Bearer {token()}")
    assert caller.user_id == "anna"
    assert caller.scopes == {"push:healthkit", "read:biometrics"}
    assert caller.token_id == "1"


async def test_a_minted_token_is_a_right_one() -> None:
    minted = mint(pem(KEY), issuer="stack", audience="auren", subject="anna", scope="push:healthkit")
    assert (await verifier()).principal(f"bearer {minted}").scopes == {"push:healthkit"}


def unsigned(algorithm: str) -> str:
    """A token without signature that says its algorithm is `algorithm`."""
    parts = [{"alg": algorithm, "typ": "JWT"}, jwt.decode(token(), options={"verify_signature": False})]
    encoded = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts]
    return ".".join([*encoded, ""])


WRONG = {
    "expired": token(exp=int(time.time()) - 3600),
    "for others": token(aud="others"),
    "of others": token(iss="others"),
    "other key": token(OTHER_KEY),
    "other key under our id": token(OTHER_KEY, header={"kid": thumbprint(KEY.public_key())}),
    "unknown key id": token(header={"kid": "unknown"}),
    "other algorithm": token(rsa.generate_private_key(public_exponent=65537, key_size=2048), "RS256"),
    "public key as secret": token(
        base64.b64encode(KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode(),
        "HS256",
    ),
    "alg none": unsigned("none"),
    "no signature": unsigned("ES256"),
    "no expiry": token(without="exp"),
    "no subject": token(without="sub"),
    "no id": token(without="jti"),
    "no audience": token(without="aud"),
    "not yet": token(nbf=int(time.time()) + 3600),
    "subject no user id": token(sub="a/b"),
    "subject too long": token(sub="a" * 129),
    "scope no text": token(scope=["push:healthkit"]),
    "no token": "garbage",
    "empty": "",
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_token_is_refused_without_showing_it(case: str) -> None:
    wrong = WRONG[case]
    with pytest.raises(UnauthorizedError) as refused:
        (await verifier()).principal(f"Bearer {wrong}")
    assert not wrong or wrong not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("header", [None, "", "Basic YTpi", "Bearer", "Bearer ", token()])
async def test_only_bearer_tokens_count(header: str | None) -> None:
    with pytest.raises(UnauthorizedError, match="a bearer token is needed"):
        (await verifier()).principal(header)


async def test_a_remembered_token_expires_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, right = await verifier(), token()
    subject.principal(f"Bearer {right}")
    later = time.time() + 600
    monkeypatch.setattr("time.time", lambda: later)
    with pytest.raises(UnauthorizedError, match="expired"):
        subject.principal(f"Bearer {right}")


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "CACHED_TOKENS", 3)
    subject = await verifier()
    for number in range(10):
        assert subject.principal(f"Bearer {token(sub=f'user-{number}')}").user_id == f"user-{number}"
    assert len(subject._verified) == 3


async def test_two_keys_may_be_active_while_one_replaces_the_other() -> None:
    both = {"keys": jwks(KEY.public_key())["keys"] + jwks(OTHER_KEY.public_key())["keys"]}
    subject = await verifier(both)
    for key in (KEY, OTHER_KEY):
        minted = mint(pem(key), issuer="stack", audience="auren", subject="anna", scope="")
        assert subject.principal(f"Bearer {minted}").user_id == "anna"
    with pytest.raises(UnauthorizedError):
        subject.principal(f"Bearer {token()}")


async def test_without_keys_nobody_is_let_in() -> None:
    subject = Verifier(ServiceSettings(), Revocations(revoked()))
    with pytest.raises(NotConfiguredError):
        subject.principal(f"Bearer {token()}")
    with pytest.raises(UnhealthyError, match="auren_auth_jwks"):
        await subject.check()
    await (await verifier()).check()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"keys": 1}', '{"keys": [1]}', '{"keys": [{"crv": "P-256"}]}'])
def test_what_is_no_jwks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="holds no JWKS"):
        public_keys(text)


async def test_a_revoked_token_is_refused_and_others_are_not() -> None:
    subject = await verifier(load=revoked("1"))
    with pytest.raises(UnauthorizedError, match="revoked"):
        subject.principal(f"Bearer {token()}")
    assert subject.principal(f"Bearer {token(jti='2')}").token_id == "2"


async def test_before_revocations_are_known_nobody_is_let_in_and_later_the_last_list_stands() -> None:
    answers: list[frozenset[str] | None] = [None, frozenset({"1"}), None]

    async def load() -> frozenset[str]:
        answer = answers.pop(0)
        if answer is None:
            raise UnavailableError("database", "away")
        return answer

    revocations = Revocations(load)
    await revocations.refresh()
    with pytest.raises(UnavailableError, match="cannot be read"):
        _ = "1" in revocations
    await revocations.refresh()
    with pytest.raises(UnhealthyError, match="not read any more"):
        await revocations.check()  # nothing was started that would read it again
    assert "1" in revocations
    await revocations.refresh()
    with pytest.raises(UnhealthyError, match="database: away"):
        await revocations.check()
    assert "1" in revocations
    assert "2" not in revocations


async def test_whatever_reading_raises_is_told_and_reading_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "REVOCATION_REFRESH_SECONDS", 0.001)
    defects: list[Exception] = []
    read = asyncio.Event()

    async def load() -> frozenset[str]:
        read.set()
        if defects:
            raise defects[0]
        return frozenset({"1"})

    async def next_read() -> None:
        for _ in range(2):
            read.clear()
            await asyncio.wait_for(read.wait(), 10)

    revocations = Revocations(load)
    await revocations.start()
    await next_read()
    await revocations.check()
    defects.append(RuntimeError("anna"))
    await next_read()
    with pytest.raises(UnhealthyError, match=r"cannot be read \(RuntimeError\)"):
        await revocations.check()
    assert "1" in revocations
    defects.clear()
    await next_read()
    await revocations.check()
    monkeypatch.setattr(auth, "REVOCATIONS_OLD_SECONDS", -1.0)
    with pytest.raises(UnhealthyError, match="s old"):
        await revocations.check()
    await revocations.stop()


def test_scopes_and_the_rule_about_paths() -> None:
    caller = Principal("anna", frozenset({"push:healthkit"}), "1", 0)
    caller.require("push:healthkit")
    caller.require_user("anna")
    with pytest.raises(ForbiddenError, match="read:biometrics"):
        caller.require("read:biometrics")
    with pytest.raises(ForbiddenError):
        caller.require_user("bert")
    Principal("anna", frozenset({"users:all"}), "1", 0).require_user("bert")


def test_the_key_id_is_the_thumbprint_of_rfc_7638() -> None:
    members = jwks(KEY.public_key())["keys"][0]
    assert list(public_keys(json.dumps(jwks(KEY.public_key())))) == [members["kid"]] == [thumbprint(KEY.public_key())]
    assert public_keys(json.dumps(jwks(KEY.public_key())))[members["kid"]].public_numbers() == (
        KEY.public_key().public_numbers()
    )


async def test_the_command_line_mints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "private.pem"
    key.write_bytes(pem(KEY))
    arguments = ["mint", "--key", str(key), "--issuer", "stack", "--audience", "auren", "--sub", "anna"]
    assert main([*arguments, "--scope", "push:healthkit", "--ttl", "60"]) == 0
    minted = capsys.readouterr().out.strip()
    assert (await verifier()).principal(f"Bearer {minted}").scopes == {"push:healthkit"}
    assert 0 < jwt.decode(minted, options={"verify_signature": False})["exp"] - time.time() <= 60


@pytest.mark.parametrize(
    ("content", "subject", "words"),
    [
        (b"no key", "anna", "mint: "),
        (pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)), "anna", "no P-256 private key"),
        (pem(KEY), "a b", "the subject must match"),
    ],
)
def test_the_command_line_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, subject: str, words: str
) -> None:
    key = tmp_path / "private.pem"
    key.write_bytes(content)
    assert main(["mint", "--key", str(key), "--issuer", "i", "--audience", "a", "--sub", subject]) == 1
    assert words in capsys.readouterr().err
