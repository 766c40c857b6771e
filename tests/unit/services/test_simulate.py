"""The simulator: it signs as the vendors do, tells of plausible people, reaches nobody else's bridge, and ends."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from auren.admission import Admission
from auren.auth import Revocations, Verifier, jwks
from auren.bridge import __main__ as command_line
from auren.bridge import simulate
from auren.bridge.batches import BatchingProducer
from auren.bridge.buckets import Buckets
from auren.bridge.credentials import Credentials
from auren.bridge.decoders import Decoded, Whose, fetched, healthkit, oura, terra, whoop
from auren.bridge.intake import Intake, IntakeMetrics
from auren.bridge.serve_process import Front
from auren.bridge.simulate import Outcome, Plan, RefusedError, Simulation, host_of, percentile, require_near
from auren.bridge.simulated_people import Person, midnight, people
from auren.bridge.simulated_vendors import (
    PROVIDERS,
    Sent,
    deliver,
    milliseconds,
    minutes_before,
    sign_oura,
    sign_terra,
    sign_whoop,
)
from auren.bridge.webhooks import Webhook
from auren.bridge.webhooks.healthkit import HealthKitWebhook
from auren.bridge.webhooks.oura import OuraWebhook
from auren.bridge.webhooks.terra import TerraWebhook
from auren.bridge.webhooks.whoop import WhoopWebhook
from auren.events import Delivery, Event, Headers
from auren.settings import ServiceSettings
from auren.telemetry import Metrics

VECTORS = json.loads((Path(__file__).parent / "vectors" / "signatures.json").read_text())
KEY = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
NOW = datetime(2026, 3, 1, 15, 4, 5, 678_000, tzinfo=UTC)
SIGN = {"oura": sign_oura, "whoop": sign_whoop, "terra": sign_terra}
DECODERS = {
    "oura": (fetched.read_whose, oura.decode),
    "whoop": (fetched.read_whose, whoop.decode),
    "terra": (terra.read_whose, terra.decode),
}
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
ANNA, BEN = people(["anna", "ben"], seed=1)


def sent(provider: str, number: int = 0, now: datetime = NOW, person: Person = ANNA) -> Sent:
    return deliver(provider, person, number, now, b"secret")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["provider"])
def test_it_signs_as_openssl_does_by_the_vendors_formulas(vector: dict[str, Any]) -> None:
    expected: dict[str, str] = vector["headers"]
    now_ms = int(expected.get("x-whoop-signature-timestamp", 1000 * vector["time"] + 999))
    made = SIGN[vector["provider"]](vector["secret"].encode(), vector["body"].encode(), now_ms)
    if vector["provider"] == "terra":
        # The second vector has a wrong one under the old name, to see which is looked at.
        signature = next(iter(expected.values()))
        expected = {"x-terra-signature": signature, "terra-signature": signature}
    assert made == expected


def test_milliseconds_are_exact() -> None:
    for millisecond in range(0, 1000, 7):
        moment = datetime(2025, 10, 9, 8, 53, 20, 1000 * millisecond + 999, tzinfo=UTC)
        assert milliseconds(moment) == 1760000000000 + millisecond


@pytest.mark.parametrize("provider", PROVIDERS)
def test_equal_seeds_send_equal_bytes_and_other_seeds_others(provider: str) -> None:
    (again,), (other,) = people(["anna"], seed=1), people(["anna"], seed=2)
    assert sent(provider) == sent(provider, person=again)
    assert sent(provider).body != sent(provider, person=other).body
    assert sent(provider).body != sent(provider, person=BEN).body


def test_the_ids_of_people_and_documents_are_their_own() -> None:
    crowd = people([f"user-{number}" for number in range(200)], seed=1)
    assert len({(p.oura_id, p.whoop_id, p.terra_id) for p in crowd}) == len({p.whoop_id for p in crowd}) == 200
    bodies = [
        sent(provider, number, person=person) for provider in ("oura", "whoop") for number in (0, 1) for person in crowd
    ]
    objects = [document.get("object_id") or document["id"] for document in (json.loads(s.body) for s in bodies)]
    assert len(set(objects)) == 800


@given(MOMENTS)
def test_people_are_plausible_at_any_time(now: datetime) -> None:
    assert 44 <= ANNA.resting_heart_rate(now) <= 70
    assert ANNA.resting_heart_rate(now) < ANNA.heart_rate(now) < 120
    later = min(now + timedelta(hours=1), midnight(now) + timedelta(hours=23, minutes=59))
    assert 0 <= ANNA.steps_until(now) <= max(ANNA.steps_until(later), ANNA.steps_until(now)) <= 13_000
    night = ANNA.last_night(now)
    assert now - timedelta(days=2) < night.start < night.end <= now
    assert timedelta(hours=4) < night.end - night.start < timedelta(hours=9)
    assert sum(map(night.minutes, ("light", "deep", "rem", "awake"))) * 60 == (night.end - night.start).total_seconds()


def heart_rates(delivery: Sent) -> dict[str, float]:
    document = json.loads(delivery.body)
    if delivery.provider == "healthkit":
        return {sample["date"]: sample["Avg"] for sample in document["data"]["metrics"][0]["data"]}
    samples = document["data"][0]["heart_rate_data"]["detailed"]["hr_samples"]
    return {sample["timestamp"]: sample["bpm"] for sample in samples}


@given(MOMENTS, st.integers(0, 9))
def test_windows_that_overlap_tell_the_same_of_the_same_minute(now: datetime, minutes: int) -> None:
    for provider in ("healthkit", "terra"):
        before, after = (heart_rates(sent(provider, 0, moment)) for moment in (now, now + timedelta(minutes=minutes)))
        shared = before.keys() & after.keys()
        assert len(shared) == len(minutes_before(now)) - minutes
        assert {key: before[key] for key in shared} == {key: after[key] for key in shared}


def arrived(sent: Sent, user_id: str = "") -> Delivery:
    """As the bridge hands it to a decoder."""
    vendor = tuple((name, value) for name, value in sent.headers.items() if name.startswith(("x-", "terra-reference")))
    return Delivery(id="1", provider=sent.provider, received_at=NOW, body=sent.body, user_id=user_id, vendor=vendor)


def assert_all_read(decoded: Decoded) -> None:
    assert not decoded.unknown
    assert not decoded.skipped


def events_of(provider: str, number: int, now: datetime) -> list[Event]:
    decode = healthkit.decode if provider == "healthkit" else DECODERS[provider][1]
    decoded = decode(arrived(sent(provider, number, now), "anna"))
    assert_all_read(decoded)
    return decoded.events


@given(MOMENTS)
def test_what_apple_health_and_terra_send_is_read_to_the_last_sample(now: datetime) -> None:
    pushed = events_of("healthkit", 0, now)
    assert {event.kind for event in pushed} == {"readings", "sleep"}
    assert {"heart_rate", "hrv_sdnn", "resting_heart_rate", "steps", "spo2"} <= metrics_of(pushed)
    assert {event.kind for event in events_of("healthkit", 1, now)} == {"readings"}
    daily, sleep, activity = (events_of("terra", number, now) for number in range(3))
    assert {"heart_rate", "hrv_rmssd", "resting_heart_rate"} <= metrics_of(daily)
    assert "sleep" in {event.kind for event in sleep}
    assert "workout" in {event.kind for event in activity}
    assert {event.user_id for event in [*pushed, *daily, *sleep, *activity]} == {"anna"}


def metrics_of(events: list[Event]) -> set[str]:
    return {reading.metric for event in events for reading in event.readings}


def test_what_is_told_of_a_night_is_the_same_by_terra_and_apple_health() -> None:
    (apple,) = (event.sleep for event in events_of("healthkit", 0, NOW) if event.sleep)
    (garmin,) = (event.sleep for event in events_of("terra", 1, NOW) if event.sleep)
    night = ANNA.last_night(NOW)
    for told in (apple, garmin):
        assert (told.start, told.end) == (night.start, night.end)
        for minutes, stage in ((told.light_minutes, "light"), (told.deep_minutes, "deep"), (told.rem_minutes, "rem")):
            assert minutes == pytest.approx(night.minutes(stage), abs=0.01)


def test_notices_of_oura_and_whoop_are_read() -> None:
    for provider, vendor_id in (("oura", ANNA.oura_id), ("whoop", str(ANNA.whoop_id))):
        read_whose, decode = DECODERS[provider]
        for delivery in (arrived(sent(provider, number), "anna") for number in range(100)):
            assert read_whose(delivery) == Whose(vendor_id)
            decoded = decode(delivery)
            assert not decoded.skipped
            # Oura tells of types that are not fetched, too.
            assert decoded.notices or decoded.events or decoded.unknown == {"daily_sleep": 1}


def test_terra_names_our_user_and_its_own() -> None:
    assert terra.read_whose(arrived(sent("terra"))) == Whose(ANNA.terra_id, "anna")


def test_a_plan_gives_everybody_everything() -> None:
    plan = Plan(PROVIDERS, [ANNA, BEN], rate=24, seconds=2)
    deliveries = [plan.delivery(index, NOW, lambda *_: b"key") for index in range(len(plan))]
    assert len(deliveries) == 48
    assert len({delivery.body for delivery in deliveries if delivery.provider != "healthkit"}) == 30
    kinds = {(d["user"]["reference_id"], d["type"]) for d in map(json_of, deliveries) if "user" in d}
    assert kinds == {(user, kind) for user in ("anna", "ben") for kind in ("daily", "sleep", "activity")}


def json_of(sent: Sent) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sent.body)
    return found


class Log:
    """Stands for Kafka: everything is acknowledged at once."""

    def __init__(self) -> None:
        self.appended: list[tuple[bytes, dict[str, bytes]]] = []

    def require(self) -> None:
        """Always there."""

    def append(self, value: bytes, headers: Headers) -> asyncio.Future[None]:
        self.appended.append((value, dict(headers)))
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        acknowledged.set_result(None)
        return acknowledged


async def bridge(secrets: Path, log: Log) -> Front:
    """The bridge's own webhooks, with these secrets."""

    async def none_revoked() -> frozenset[str]:
        return frozenset()

    revocations = Revocations(none_revoked)
    await revocations.refresh()
    settings = ServiceSettings(auth_jwks=SecretStr(json.dumps(jwks(KEY.public_key()))))
    admission = Admission()
    counted = IntakeMetrics(Metrics("bridge"), admission)
    webhooks: tuple[Webhook, ...] = (
        HealthKitWebhook(Verifier(settings, revocations)),
        OuraWebhook(Credentials(secrets / "oura"), "https://bridge.example.org"),
        WhoopWebhook(Credentials(secrets / "whoop")),
        TerraWebhook(Credentials(secrets / "terra")),
    )
    producer = cast(BatchingProducer, log)
    intakes = {w.path: Intake(w, producer, admission, Buckets(1000, 1000), counted) for w in webhooks}

    async def nothing_else(*_: Any) -> None:
        raise AssertionError("a path that is no webhook's")

    return Front(intakes, nothing_else)


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    for provider, name in simulate.SECRETS.items():
        (tmp_path / provider).mkdir()
        (tmp_path / provider / name).write_text(f"the secret of {provider}\n")
    (tmp_path / "key.pem").write_bytes(PEM)
    return tmp_path


def options(*arguments: str) -> Any:
    return simulate.parser().parse_args(arguments)


def simulation_of(secrets: Path, client: httpx.AsyncClient, *arguments: str) -> Simulation:
    asked = options("--secrets-dir", str(secrets), "--token-key", str(secrets / "key.pem"), *arguments)
    plan = simulate.plan_of(asked)
    return Simulation(client, plan, simulate.keys_of(asked, plan))


async def simulated(secrets: Path, transport: httpx.AsyncBaseTransport, *arguments: str) -> Simulation:
    async with httpx.AsyncClient(transport=transport, base_url="http://bridge") as client:
        simulation = simulation_of(secrets, client, *arguments)
        await simulation.run()
    return simulation


async def test_the_bridge_takes_every_providers_deliveries(secrets: Path) -> None:
    log = Log()
    transport = httpx.ASGITransport(await bridge(secrets, log))
    simulation = await simulated(secrets, transport, "--rate", "400", "--seconds", "0.1", "--users", "anna,ben")
    assert simulation.successful, simulation.report()
    assert {name: outcome.accepted for name, outcome in simulation.outcomes.items()} == dict.fromkeys(PROVIDERS, 10)
    assert len(log.appended) == 40
    in_log = [(headers["provider"].decode(), headers.get("ce_subject")) for _, headers in log.appended]
    assert in_log.count(("healthkit", b"anna")) == in_log.count(("healthkit", b"ben")) == 5
    assert in_log.count(("terra", None)) == 10
    (versions,) = {
        tuple(sorted(n for n in h if n.startswith("vendor-"))) for _, h in log.appended if h["provider"] == b"terra"
    }
    assert versions == ("vendor-terra-reference", "vendor-x-terra-ordering-timestamp", "vendor-x-terra-trace-id")


async def test_another_secret_is_a_refusal_that_is_told(secrets: Path, tmp_path: Path) -> None:
    log = Log()
    transport = httpx.ASGITransport(await bridge(secrets, log))
    others = tmp_path / "others"
    for provider, name in simulate.SECRETS.items():
        (others / provider).mkdir(parents=True)
        (others / provider / name).write_text("another" if provider == "whoop" else f"the secret of {provider}")
    (others / "key.pem").write_bytes(PEM)
    simulation = await simulated(others, transport, "--rate", "400", "--seconds", "0.1", "--issuer", "another")
    assert not simulation.successful
    assert [outcome.accepted for outcome in simulation.outcomes.values()] == [10, 0, 10, 0]
    assert simulation.outcomes["whoop"].other == simulation.outcomes["healthkit"].other == {"401": 10}
    assert len(log.appended) == 20
    lines = simulation.report().splitlines()[:6]  # a busy machine tells below that it was late
    assert [line.split()[:3] for line in lines[1:]] == [
        ["oura", "10", "10"], ["whoop", "10", "0"], ["terra", "10", "10"], ["healthkit", "10", "0"], ["all", "40", "20"]
    ]  # fmt: skip
    assert lines[-1].endswith("401: 20")


async def test_a_token_that_is_given_is_sent(secrets: Path) -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(202)

    arguments = ("--providers", "healthkit", "--rate", "400", "--seconds", "0.01", "--token", "a.b.c")
    simulation = await simulated(secrets, httpx.MockTransport(answer), *arguments)
    assert simulation.successful
    assert seen == ["Bearer a.b.c"] * 4


async def test_errors_and_redirects_are_not_successes(secrets: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("oura"):
            raise httpx.ConnectError("refused")
        return httpx.Response(307 if request.url.path.endswith("whoop") else 200, headers={"location": "http://x/"})

    simulation = await simulated(secrets, httpx.MockTransport(answer), "--rate", "400", "--seconds", "0.03")
    assert not simulation.successful
    assert simulation.outcomes["oura"].other == {"ConnectError": 3}
    assert simulation.outcomes["whoop"].other == {"307": 3}
    assert simulation.outcomes["terra"].accepted == 3


async def test_it_sends_whether_or_not_answers_come_up_to_a_bound(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulate, "MAX_IN_FLIGHT", 3)
    answers = asyncio.Event()

    async def answer(_: httpx.Request) -> httpx.Response:
        await answers.wait()
        return httpx.Response(200)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://bridge") as client:
        simulation = simulation_of(secrets, client, "--rate", "500", "--seconds", "0.02")
        run = asyncio.create_task(simulation.run())
        while simulation.held_back < 7:  # noqa: ASYNC110 - a count, not an event
            await asyncio.sleep(0.001)
        assert simulation.total().sent == 3
        assert not run.done()
        answers.set()
        await run
    assert simulation.total().accepted == 3
    assert simulation.held_back == 7
    assert not simulation.successful
    assert "7 held back" in simulation.report()


async def test_a_sender_that_is_late_says_so(secrets: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        time.sleep(simulate.TELL_LATE_SECONDS * 1.5)
        return httpx.Response(200)

    arguments = ("--providers", "oura", "--rate", "1000", "--seconds")
    late = await simulated(secrets, httpx.MockTransport(answer), *arguments, "0.003")
    assert late.successful
    assert late.late_seconds > simulate.TELL_LATE_SECONDS
    assert "this process cannot keep up" in late.report()
    late.late_seconds = simulate.TELL_LATE_SECONDS
    assert "keep up" not in late.report()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--rate", "0"), "--rate"),
        (("--rate", "-1"), "--rate"),
        (("--rate", "nan"), "--rate"),
        (("--rate", "inf"), "--rate"),
        (("--rate", "1001"), "--rate"),
        (("--seconds", "0"), "--seconds"),
        (("--seconds", "inf"), "--seconds"),
        (("--seconds", "86401"), "--seconds"),
        (("--rate", "100", "--seconds", "10001"), "rate times seconds"),
        (("--users", "0"), "--users"),
        (("--users", "10001"), "--users"),
        (("--users", ","), "--users"),
    ],
)
def test_what_would_not_end_is_refused(arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        simulate.plan_of(options(*arguments))


def test_the_largest_plan_is_allowed() -> None:
    assert len(simulate.plan_of(options("--rate", "100", "--seconds", "10000"))) == simulate.MAX_DELIVERIES
    assert len(simulate.plan_of(options("--rate", "0.001", "--seconds", "1"))) == 1


def resolving(known: Mapping[str, list[str]]) -> Callable[[str], Iterator[str]]:
    def resolve(host: str) -> Iterator[str]:
        if host not in known:
            raise OSError("unknown")
        return iter(known[host])

    return resolve


HOSTS = resolving(
    {
        "localhost": ["127.0.0.1", "::1"],
        "biometric-bridge": ["10.96.12.1"],
        "bridge.example.org": ["93.184.216.34"],
        "both.example.org": ["10.0.0.1", "93.184.216.34"],
        "nothing.example.org": [],
        "cluster.local.example.org": ["93.184.216.34"],
    }
)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "::1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "fd00::1",
        "::ffff:10.0.0.1",
        "localhost",
        "biometric-bridge",
        "biometric-bridge.auren.svc",
        "biometric-bridge.auren.svc.cluster.local",
    ],
)
def test_one_s_own_bridge_is_near(host: str) -> None:
    require_near(host, HOSTS)


@pytest.mark.parametrize(
    "host",
    [
        "93.184.216.34",
        "2606:2800:220:1::1",
        "::ffff:93.184.216.34",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1",
        "0.0.0.0",
        "::",
        "bridge.example.org",
        "both.example.org",
        "nothing.example.org",
        "cluster.local.example.org",
        "unknown.example.org",
    ],
)
def test_everybody_else_s_is_not(host: str) -> None:
    with pytest.raises(RefusedError):
        require_near(host, HOSTS)


def test_the_address_must_be_one() -> None:
    assert host_of("https://Bridge.example.org:8443/prefix") == "bridge.example.org"
    assert host_of("http://[fd00::1]:8889") == "fd00::1"
    for url in (
        "bridge:8889",
        "ftp://bridge",
        "http://",
        "http://x:port",
        "http://[::1",
        "http://x?y",
        "http://x#y",
        "",
    ):
        with pytest.raises(RefusedError):
            host_of(url)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--url", "http://93.184.216.34"), "--anywhere"),
        (("--url", "nonsense"), "the URL must look like"),
        (("--rate", "1e9"), "--rate"),
        (("--secrets-dir", "/nonexistent"), "no client-secret in /nonexistent/oura: --providers leaves oura out"),
        (("--providers", "healthkit"), "healthkit needs --token-key or --token"),
        (("--providers", "healthkit", "--token-key", "/nonexistent/key.pem"), "--token-key"),
        (("--providers", "healthkit", "--token-key", __file__), "--token-key"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["simulate", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.count("\n") == 1


def test_a_bridge_that_is_not_there_is_exit_code_1(secrets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--url", "http://127.0.0.1:1", "--providers", "terra", "--rate", "100", "--seconds", "0.02")
    assert simulate.main([*arguments, "--secrets-dir", str(secrets)]) == 1
    printed = capsys.readouterr()
    assert "ConnectError: 2" in printed.out
    assert "secret of" not in printed.out + printed.err


def test_users_and_providers_are_lists() -> None:
    assert options("--users", "2").users == ["simulated-0001", "simulated-0002"]
    assert options("--users", "anna, ben,anna").users == ["anna", "ben"]
    assert options("--providers", "terra,oura,terra").providers == ["terra", "oura"]
    assert options().providers == list(PROVIDERS)
    for wrong in ("fitbit", "", "oura,fitbit"):
        with pytest.raises(SystemExit):
            options("--providers", wrong)


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert (percentile(values, 50), percentile(values, 99), percentile(values, 100)) == (50, 99, 100)
    assert percentile([7.0], 50) == percentile([7.0], 99) == 7
    assert percentile([], 50) != percentile([], 50)
    assert Outcome() + Outcome(sent=1) == Outcome(sent=1)


@pytest.mark.parametrize("command", ["serve", "collect", "dlq", "simulate"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.main([command, "--help"])
    assert ended.value.code == 0
    assert f"python -m auren.bridge {command}" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        command_line.main([command, "--nonsense"])
    assert ended.value.code == 2


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), ([], 2), (["nonsense"], 2)])
def test_the_program_says_what_it_can(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.main(arguments)
    assert ended.value.code == code
    printed = capsys.readouterr()
    if not code:
        assert all(f"  {command}" in printed.out for command in ("serve", "collect", "dlq", "simulate"))
