"""Each provider's way to prove who it is. The vectors were made by openssl (`vectors/signatures.sh`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auren.auth import NotConfiguredError, UnauthorizedError
from auren.bridge.credentials import CLIENT_SECRET, REREAD_SECONDS, SIGNING_SECRET, Credentials
from auren.bridge.webhooks.oura import OuraWebhook, verification_token
from auren.bridge.webhooks.signed import DEFAULT_WINDOW_SECONDS, SignedWebhook
from auren.bridge.webhooks.terra import TerraWebhook
from auren.bridge.webhooks.whoop import WhoopWebhook

VECTORS = json.loads((Path(__file__).parent / "vectors" / "signatures.json").read_text())
SIGNED_BY = {"oura": CLIENT_SECRET, "whoop": CLIENT_SECRET, "terra": SIGNING_SECRET}
URL = "https://bridge.example.org"


@dataclass
class Time:
    """Stands still until it is moved."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def secrets(folder: Path, **values: str) -> Credentials:
    """Files as a mounted Secret has them."""
    folder.mkdir(exist_ok=True)
    for name, value in values.items():
        (folder / name.replace("_", "-")).write_text(value)
    return Credentials(folder)


def webhook(provider: str, credentials: Credentials, clock: Time) -> SignedWebhook:
    match provider:
        case "oura":
            return OuraWebhook(credentials, URL, clock=clock)
        case "whoop":
            return WhoopWebhook(credentials, clock=clock)
        case _:
            return TerraWebhook(credentials, clock=clock)


def headers_of(vector: Mapping[str, Any]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in vector["headers"].items()}


@pytest.fixture(params=VECTORS, ids=lambda v: "-".join([v["provider"], *list(v["headers"])[:1]]))
def vector(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


@pytest.fixture
def clock(vector: dict[str, Any]) -> Time:
    return Time(vector["time"])


@pytest.fixture
def receiver(vector: dict[str, Any], clock: Time, tmp_path: Path) -> SignedWebhook:
    credentials = secrets(tmp_path / "s", **{SIGNED_BY[vector["provider"]]: vector["secret"] + "\n"})
    return webhook(vector["provider"], credentials, clock)


def test_what_openssl_signed_is_taken(receiver: SignedWebhook, vector: dict[str, Any]) -> None:
    claim = receiver.admit(headers_of(vector))
    claim.verify(vector["body"].encode())
    assert claim.user_id == ""
    assert receiver.challenge(b"") is None if vector["provider"] != "oura" else True


def test_one_other_byte_is_not(receiver: SignedWebhook, vector: dict[str, Any]) -> None:
    body = vector["body"].encode()
    for spoiled in (body + b" ", body[:-1], body.replace(b"456", b"457"), b""):
        with pytest.raises(UnauthorizedError):
            receiver.admit(headers_of(vector)).verify(spoiled)


def test_the_timestamp_is_part_of_what_is_signed(receiver: SignedWebhook, vector: dict[str, Any]) -> None:
    later = {
        name: value.replace(b"1760000000", b"1760000001") if b"signature" not in name or b"t=" in value else value
        for name, value in headers_of(vector).items()
    } | {n: v for n, v in headers_of(vector).items() if n == b"x-whoop-signature"}
    if vector["provider"] == "whoop":
        later[b"x-whoop-signature-timestamp"] = b"1760000001123"
    with pytest.raises(UnauthorizedError):
        receiver.admit(later).verify(vector["body"].encode())


@pytest.mark.parametrize("seconds", [-DEFAULT_WINDOW_SECONDS - 1, DEFAULT_WINDOW_SECONDS + 1])
def test_outside_the_window_nothing_is_read(
    receiver: SignedWebhook, vector: dict[str, Any], clock: Time, seconds: float
) -> None:
    clock.now += seconds
    with pytest.raises(UnauthorizedError, match="too far"):
        receiver.admit(headers_of(vector))


@pytest.mark.parametrize("seconds", [-DEFAULT_WINDOW_SECONDS + 1, DEFAULT_WINDOW_SECONDS])
def test_inside_the_window_it_is(receiver: SignedWebhook, vector: dict[str, Any], clock: Time, seconds: float) -> None:
    clock.now += seconds
    receiver.admit(headers_of(vector)).verify(vector["body"].encode())


@pytest.mark.parametrize("missing", ["signature", "timestamp", "everything"])
def test_without_its_headers_nothing_is_read(receiver: SignedWebhook, vector: dict[str, Any], missing: str) -> None:
    kept = {
        name: value
        for name, value in headers_of(vector).items()
        if missing != "everything" and not name.endswith(missing.encode())
    }
    if vector["provider"] == "terra" and missing == "timestamp":
        kept = {name: value.split(b",")[1] for name, value in headers_of(vector).items()}
    with pytest.raises(UnauthorizedError, match="missing"):
        receiver.admit(kept)


def test_without_a_secret_nobody_is_let_in(vector: dict[str, Any], clock: Time, tmp_path: Path) -> None:
    empty = webhook(vector["provider"], Credentials(tmp_path / "none"), clock)
    assert not empty.configured()
    with pytest.raises(NotConfiguredError):
        empty.admit(headers_of(vector))
    blank = webhook(vector["provider"], secrets(tmp_path / "s", **{SIGNED_BY[vector["provider"]]: " \n"}), clock)
    with pytest.raises(NotConfiguredError):
        blank.admit(headers_of(vector))


def test_both_secrets_hold_while_one_replaces_the_other(vector: dict[str, Any], clock: Time, tmp_path: Path) -> None:
    name = SIGNED_BY[vector["provider"]]
    both = secrets(tmp_path / "s", **{name: "the-new-one", f"{name}-previous": vector["secret"]})
    webhook(vector["provider"], both, clock).admit(headers_of(vector)).verify(vector["body"].encode())
    neither = secrets(tmp_path / "t", **{name: "the-new-one", f"{name}-previous": "another"})
    with pytest.raises(UnauthorizedError):
        webhook(vector["provider"], neither, clock).admit(headers_of(vector)).verify(vector["body"].encode())


@pytest.mark.parametrize("provider", SIGNED_BY)
def test_while_a_secret_is_rotated_the_vendor_may_sign_with_either(provider: str, tmp_path: Path) -> None:
    first, second = [v for v in VECTORS if v["provider"] == provider][:: 2 if provider == "terra" else 1][:2]
    assert first["secret"] != second["secret"]
    name, clock = SIGNED_BY[provider], Time(first["time"])
    before, during, after = (
        webhook(provider, secrets(tmp_path / phase, **found), clock)
        for phase, found in (
            ("before", {name: first["secret"]}),
            ("during", {name: second["secret"], f"{name}-previous": first["secret"]}),
            ("after", {name: second["secret"]}),
        )
    )

    def takes(receiver: SignedWebhook, vector: Mapping[str, Any]) -> bool:
        try:
            receiver.admit(headers_of(vector)).verify(vector["body"].encode())
        except UnauthorizedError:
            return False
        return True

    assert [[takes(receiver, vector) for vector in (first, second)] for receiver in (before, during, after)] == [
        [True, False],
        [True, True],
        [False, True],
    ]


@pytest.mark.parametrize("side", [-1, 1])
def test_the_windows_edge_is_inside_and_what_is_beyond_it_is_not(
    receiver: SignedWebhook, vector: dict[str, Any], clock: Time, side: int
) -> None:
    signed_at = 1760000000.125 if vector["provider"] == "whoop" else 1760000000
    headers = headers_of(vector)
    if vector["provider"] == "whoop":  # a time that a float has exactly
        headers[b"x-whoop-signature-timestamp"] = b"1760000000125"
    clock.now = signed_at + side * DEFAULT_WINDOW_SECONDS
    receiver.admit(headers)
    clock.now += side * 2.0**-10
    with pytest.raises(UnauthorizedError, match="too far"):
        receiver.admit(headers)


def test_hexadecimal_is_read_in_either_case_and_base64_is_not(receiver: SignedWebhook, vector: dict[str, Any]) -> None:
    body, sent = vector["body"].encode(), headers_of(vector)
    name = next(name for name in sent if name.endswith(b"signature"))
    timestamp, equals, signature = sent[name].rpartition(b"=" if vector["provider"] == "terra" else b"\0")
    for other in (signature.upper(), signature.lower()):
        claim = receiver.admit(sent | {name: timestamp + equals + other})
        if vector["provider"] != "whoop":
            claim.verify(body)
        else:
            with pytest.raises(UnauthorizedError):
                claim.verify(body)


def test_terras_newer_header_is_the_one_that_is_looked_at(tmp_path: Path) -> None:
    vector = next(v for v in VECTORS if v["provider"] == "terra")
    terra = TerraWebhook(secrets(tmp_path / "s", signing_secret=vector["secret"]), clock=Time(vector["time"]))
    good, body = vector["headers"]["terra-signature"].encode(), vector["body"].encode()
    wrong = good[:-4] + b"0000"
    for headers in ({b"x-terra-signature": good}, {b"terra-signature": good}, {b"x-terra-signature": b""}):
        terra.admit({b"terra-signature": good} | headers).verify(body)
    terra.admit({b"x-terra-signature": good, b"terra-signature": wrong}).verify(body)
    with pytest.raises(UnauthorizedError):
        terra.admit({b"x-terra-signature": wrong, b"terra-signature": good}).verify(body)


@given(st.dictionaries(st.sampled_from([name for v in VECTORS for name in headers_of(v)]), st.binary(max_size=80)))
def test_whatever_the_headers_say_it_is_a_refusal_and_no_defect(headers: dict[bytes, bytes]) -> None:
    for provider in SIGNED_BY:
        receiver = webhook(provider, _Fixed(), Time(1760000000))
        with pytest.raises(UnauthorizedError):
            receiver.admit(headers).verify(b"{}")


class _Fixed(Credentials):
    """One secret, without files."""

    def __init__(self) -> None:
        super().__init__(Path("/nonexistent"))

    def active(self, name: str) -> tuple[bytes, ...]:
        return (b"secret",)


def test_a_secret_that_comes_later_is_seen_without_a_restart(tmp_path: Path) -> None:
    time = Time()
    credentials = Credentials(tmp_path / "s", time)
    assert credentials.active(CLIENT_SECRET) == ()
    secrets(tmp_path / "s", **{CLIENT_SECRET: "first"})
    assert credentials.get(CLIENT_SECRET) is None, "not read at every request"
    time.now += REREAD_SECONDS
    assert credentials.active(CLIENT_SECRET) == (b"first",)
    secrets(tmp_path / "s", **{CLIENT_SECRET: "second", f"{CLIENT_SECRET}-previous": "first"})
    time.now += REREAD_SECONDS
    assert credentials.active(CLIENT_SECRET) == (b"second", b"first")


def test_ouras_challenge_is_answered_for_who_knows_the_token_of_this_address(tmp_path: Path) -> None:
    oura = OuraWebhook(secrets(tmp_path / "s", client_secret="s3cret"), URL + "/")
    token = verification_token(b"s3cret", "https://bridge.example.org/webhooks/oura")
    assert oura.challenge(f"verification_token={token}&challenge=4f%2Ba".encode()) == {"challenge": "4f+a"}
    elsewhere = verification_token(b"s3cret", "https://elsewhere.example.org/webhooks/oura")
    for query in (
        f"verification_token={elsewhere}&challenge=x",
        f"verification_token={token}",
        f"verification_token={token}&challenge={'x' * 2000}",
        "challenge=x",
        "",
        "verification_token=%ff%fe&challenge=x",
    ):
        with pytest.raises(UnauthorizedError):
            oura.challenge(query.encode())
    with pytest.raises(NotConfiguredError):
        OuraWebhook(Credentials(tmp_path / "none"), URL).challenge(b"")


def test_terra_may_sign_with_two_secrets_at_once(tmp_path: Path) -> None:
    vector = next(v for v in VECTORS if v["provider"] == "terra")
    terra = TerraWebhook(secrets(tmp_path / "s", signing_secret=vector["secret"]), clock=Time(vector["time"]))
    timestamp, signature = vector["headers"]["terra-signature"].split(",")
    for value in (
        f"{timestamp},v1={'0' * 64},{signature}",
        f"{signature}, {timestamp}",
        f"{timestamp},v0=1,{signature}",
    ):
        terra.admit({b"terra-signature": value.encode()}).verify(vector["body"].encode())
    many = ",".join(["v1=00"] * 8)
    with pytest.raises(UnauthorizedError):
        terra.admit({b"terra-signature": f"{timestamp},{many},{signature}".encode()}).verify(vector["body"].encode())
