"""The biometric API without stores: who may read, what can be asked for, and in which form it comes."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import jwt
import pyarrow
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.testclient import TestClient

from auren.auth import Revocations, Verifier, jwks
from auren.biometric.api import Stores, media, router
from auren.biometric.api.asking import cursor
from auren.biometric.learnt import SwitchPosition
from auren.biometric.ranges import PAGE_ROWS, Position, midnights
from auren.health import Health
from auren.http import ProblemError, create_app
from auren.link import UnavailableError
from auren.settings import ServiceSettings
from auren.telemetry import Metrics

KEY = ec.generate_private_key(ec.SECP256R1())
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
RANGE = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-02T00:00:00Z"}
ARROW = "application/vnd.apache.arrow.stream"


class Memory:
    """Readings of everybody, as rows of the table. It goes away after some pages, if it is to."""

    sockets: Any = None

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.pages_left = 1000
        self.days_of: list[dict[str, Any]] = []
        self.person: dict[str, Any] | None = None

    async def raw(self, _asked: Any, after: Position, limit: int) -> list[Any]:
        self.pages_left -= 1
        if self.pages_left < 0:
            raise UnavailableError("database", "connection lost")
        return [row for row in self.rows if (row["time"], row["source"]) > (after.time, after.source)][:limit]

    async def daily_values(self, _user: str, metrics: Any, start: date, end: date) -> list[Any]:
        return [row for row in self.days_of if row["metric"] in metrics and start <= row["day"] < end]

    async def switch_before(self, *_: Any) -> Any:
        return None

    async def draw(self, charts: list[Any]) -> list[str]:
        return ["<svg/>" for _ in charts]

    async def mode(self, _user: str) -> Any:
        return self.person

    async def switches(self, _user: str, _start: Any, _end: Any, after: SwitchPosition, limit: int) -> list[Any]:
        return [row for row in self.rows if (row["at"], row["id"]) > (after.at, after.id)][:limit]

    async def patterns(self, _user: str, *, ended: bool) -> list[Any]:
        return [row for row in self.rows if ended or row["ended_at"] is None]

    async def hours(self, *_: Any) -> list[Any]:
        return [bucket(BEGIN)]

    async def days(self, asked: Any, moments: list[datetime], *_: Any) -> list[Any]:
        assert (asked.start, asked.end) == (moments[0], moments[-1])
        return [bucket(moment.astimezone(UTC)) for moment in moments[:-1]]


def bucket(moment: datetime) -> dict[str, Any]:
    return {"time": moment, "source": "w", "count": 2, "average": 61.5, "lowest": 60.0, "highest": 63.0, "total": 123.0}


def reading(second: int, source: str = "oura/ring", value: float = 60.25, **more: Any) -> dict[str, Any]:
    facts = {"time": BEGIN + timedelta(seconds=second), "source": source, "value": value}
    return facts | {"end_time": None, "flags": None} | more


def bearer(scope: str = "read:biometrics") -> dict[str, str]:
    claims = {"iss": "auren", "aud": "auren", "sub": "anna", "scope": scope, "jti": "1", "exp": time.time() + 60}
    return {"Authorization": f"Bearer {jwt.encode(claims, KEY, algorithm='ES256')}"}


@pytest.fixture
def memory() -> Memory:
    return Memory()


def app(memory: Memory) -> FastAPI:
    async def none() -> frozenset[str]:
        return frozenset()

    settings = ServiceSettings(auth_jwks=SecretStr(json.dumps(jwks(KEY.public_key()))))
    revocations = Revocations(none)
    subject = create_app("test", settings, Health("test"), Metrics("test"), (revocations,))
    stores = Stores(*[memory] * 9)  # type: ignore[arg-type]
    subject.include_router(router(Verifier(settings, revocations), stores, memory))  # type: ignore[arg-type]
    return subject


@pytest.fixture
def client(memory: Memory) -> Iterator[TestClient]:
    with TestClient(app(memory), raise_server_exceptions=False) as client:
        yield client


def ask(client: TestClient, metric: str = "heart_rate", accept: str = "*/*", **parameters: Any) -> Any:
    headers = bearer() | {"Accept": accept}
    return client.get(f"/readings/anna/{metric}", params=RANGE | parameters, headers=headers)


@pytest.mark.parametrize(
    "path",
    [
        "/readings/anna/heart_rate",
        "/latest/anna",
        "/patterns/anna",
        "/mode/anna",
        "/mode/anna/history",
        "/baselines/anna/steps",
        "/reports/anna",
    ],
)
def test_a_token_that_may_only_push_reads_nothing(client: TestClient, path: str) -> None:
    answer = client.get(path, headers=bearer("push:healthkit chat:neuros"))
    assert answer.status_code == 403
    assert "read:biometrics" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({}, 200),
        ({"from": "1970-01-01T00:00:00Z", "to": "1970-06-01T00:00:00Z"}, 200),
        ({"from": "2199-12-01T00:00:00Z", "to": "2200-01-01T00:00:00Z", "resolution": "day", "tz": "Asia/Tokyo"}, 200),
        ({"from": "0001-01-01T00:00:00+14:00"}, 422),
        ({"from": "1969-12-31T23:59:59Z"}, 422),
        ({"to": "9999-12-31T23:59:59-12:00"}, 422),
        ({"from": "2300-01-01T00:00:00Z", "to": "2301-01-01T00:00:00Z"}, 422),
        ({"after": "MDAwMS0wMS0wMVQwMDowMDowMCswMDowMHxh"}, 422),
        ({"to": "1970-01-01T00:00:00Z", "resolution": "day", "tz": "Pacific/Kiritimati"}, 200),
    ],
)
def test_moments_beyond_what_databases_hold_are_refused(
    client: TestClient, parameters: dict[str, str], status: int
) -> None:
    answer = client.get("/readings/anna/heart_rate", params=parameters, headers=bearer())
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"to": "2027-03-03T00:00:00Z"}, "more than 366 days apart, too far for raw"),
        ({"to": "2029-03-05T00:00:00Z", "resolution": "hour"}, "1098 days"),
        ({"to": "2037-03-01T00:00:00Z", "resolution": "day"}, "3660 days"),
        ({"to": "2026-03-01T00:00:00Z"}, "from must lie before to"),
        ({"resolution": "day", "tz": "Mars/Olympus"}, "IANA"),
        ({"resolution": "day", "tz": "../../etc/passwd"}, "IANA"),
        ({"resolution": "hour", "tz": "Europe/Berlin"}, "resolution=day"),
    ],
)
def test_a_range_that_cannot_be_answered_is_explained(
    client: TestClient, parameters: dict[str, str], says: str
) -> None:
    answer = ask(client, **parameters)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


def test_pages_of_readings_follow_each_other(client: TestClient, memory: Memory) -> None:
    memory.rows = [reading(second) for second in range(5)]
    first = ask(client, limit=3).json()
    second = ask(client, limit=3, after=first["next"]).json()
    assert [len(page["readings"]) for page in (first, second)] == [3, 2]
    assert (first["resolution"], first["unit"], second["next"]) == ("raw", "/min", None)
    assert [r["time"] for page in (first, second) for r in page["readings"]] == [
        f"2026-03-01T00:00:0{n}Z" for n in range(5)
    ]


def test_hours_are_those_of_utc(client: TestClient) -> None:
    body = ask(client, resolution="hour").json()
    assert body["buckets"] == [
        {
            "start": "2026-03-01T00:00:00Z",
            "end": "2026-03-01T01:00:00Z",
            "source": "w",
            "count": 2,
            "average": 61.5,
            "lowest": 60,
            "highest": 63,
            "total": 123,
        }
    ]


def test_days_are_those_that_begin_in_the_range_each_of_them_whole(client: TestClient) -> None:
    body = ask(
        client, resolution="day", tz="Europe/Berlin", **{"from": "2026-03-27T12:00:00Z", "to": "2026-03-30T12:00:00Z"}
    ).json()
    assert [(b["start"], b["end"]) for b in body["buckets"]] == [
        ("2026-03-28T00:00:00+01:00", "2026-03-29T00:00:00+01:00"),
        ("2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"),
        ("2026-03-30T00:00:00+02:00", "2026-03-31T00:00:00+02:00"),
    ]
    assert (body["start"], body["end"]) == ("2026-03-28T00:00:00+01:00", "2026-03-31T00:00:00+02:00")


@pytest.mark.parametrize(
    ("zone", "begin", "hours"),
    [
        ("Europe/Berlin", datetime(2026, 3, 28, tzinfo=UTC), [23, 24]),
        ("Europe/Berlin", datetime(2026, 10, 24, tzinfo=UTC), [25, 24]),
        # Midnight of 5 September 2021 does not exist there.
        ("America/Santiago", datetime(2021, 9, 4, 5, tzinfo=UTC), [23, 24]),
        # 30 December 2011 does not exist there.
        ("Pacific/Apia", datetime(2011, 12, 29, 0, tzinfo=UTC), [24, 24]),
        ("Australia/Lord_Howe", datetime(2026, 4, 4, tzinfo=UTC), [24.5, 24]),
    ],
)
def test_days_are_as_long_as_their_zone_makes_them(zone: str, begin: datetime, hours: list[float]) -> None:
    moments = [m.astimezone(UTC) for m in midnights(begin, begin + timedelta(days=2), ZoneInfo(zone))]
    assert [(b - a) / timedelta(hours=1) for a, b in pairwise(moments)] == hours
    assert begin <= moments[0] < begin + timedelta(days=1)
    assert moments[-1] >= begin + timedelta(days=2)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, media.JSON),
        ("", media.JSON),
        ("*/*", media.JSON),
        ("text/csv", media.CSV),
        ("text/html, TEXT/*;q=0.5", media.CSV),
        ("application/json;q=0.5, text/csv", media.CSV),
        ("*/*;q=0.9, application/json;q=0.1", media.CSV),
        (f"{ARROW}, application/json;q=0.9", media.ARROW),
        ("application/*, application/json;q=0", media.ARROW),
    ],
)
def test_the_form_is_the_one_that_is_wanted_most(accept: str | None, form: str) -> None:
    assert media.chosen(accept) == form


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "text/csv;q=much", "image/*"])
def test_a_form_that_is_not_there_is_refused_with_what_there_is(client: TestClient, accept: str) -> None:
    with pytest.raises(ProblemError):
        media.chosen(accept)
    answer = ask(client, accept=accept)
    assert (answer.status_code, answer.headers["content-type"]) == (406, "application/problem+json")
    assert "text/csv" in answer.json()["detail"]


def test_csv_and_arrow_say_what_json_says(client: TestClient, memory: Memory) -> None:
    memory.rows = [
        reading(0, value=0.1 + 0.2),
        reading(1, value=-1e-7, end_time=BEGIN + timedelta(seconds=2, microseconds=1), flags=["late", "future"]),
        reading(2, source='garmin/"a, b"\n', flags=[]),
    ]
    rows = ask(client).json()["readings"]
    lines = list(csv.DictReader(io.StringIO(ask(client, accept="text/csv").text, newline="")))
    assert [
        {
            "time": line["time"],
            "value": float(line["value"]),
            "source": line["source"],
            "end_time": line["end_time"] or None,
            "flags": line["flags"].split(),
        }
        for line in lines
    ] == rows
    table = pyarrow.ipc.open_stream(ask(client, accept=ARROW).content).read_all()
    assert table.schema.metadata == {b"metric": b"heart_rate", b"unit": b"/min"}
    assert [
        row | {"time": _text(row["time"]), "end_time": row["end_time"] and _text(row["end_time"])}
        for row in table.to_pylist()
    ] == rows


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize("accept", ["text/csv", ARROW])
def test_days_come_in_every_form(client: TestClient, accept: str) -> None:
    content = ask(client, accept=accept, resolution="day", tz="Asia/Kolkata").content
    if accept == ARROW:
        (row,) = pyarrow.ipc.open_stream(content).read_all().to_pylist()
    else:
        (row,) = csv.DictReader(io.StringIO(content.decode()))
    assert _text(row["start"]) == "2026-03-01T18:30:00Z" if accept == ARROW else row["start"] == "2026-03-01T18:30:00Z"
    assert [float(row[name]) for name in ("count", "average", "lowest", "highest", "total")] == [2, 61.5, 60, 63, 123]


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx"])
def test_a_name_is_no_formula_in_a_spreadsheet(client: TestClient, memory: Memory, name: str) -> None:
    memory.rows = [reading(0, source=name, value=-3.5)]
    (row,) = csv.DictReader(io.StringIO(ask(client, accept="text/csv").text, newline=""))
    assert row["source"] == f"'{name}"
    assert row["value"] == "-3.5"


@pytest.mark.parametrize("accept", ["text/csv", ARROW])
def test_a_stream_holds_the_whole_range_also_when_there_is_nothing_in_it(
    client: TestClient, memory: Memory, accept: str
) -> None:
    def rows() -> int:
        content = ask(client, accept=accept).content
        if accept == ARROW:
            return int(pyarrow.ipc.open_stream(content).read_all().num_rows)
        return len(list(csv.reader(io.StringIO(content.decode())))) - 1

    assert rows() == 0
    memory.rows = [reading(second) for second in range(2 * PAGE_ROWS + 1)]
    assert rows() == 2 * PAGE_ROWS + 1
    memory.rows = memory.rows[: 2 * PAGE_ROWS]
    assert rows() == 2 * PAGE_ROWS


def test_a_stream_has_no_pages(client: TestClient) -> None:
    answer = ask(client, accept="text/csv", limit=3)
    assert answer.status_code == 422
    assert "application/json" in answer.json()["detail"]


def test_a_database_that_is_away_is_said_by_the_status_of_a_stream(client: TestClient, memory: Memory) -> None:
    memory.pages_left = 0
    assert ask(client, accept="text/csv").status_code == 503


def test_a_stream_that_loses_its_database_does_not_look_complete(memory: Memory) -> None:
    memory.rows = [reading(second) for second in range(2 * PAGE_ROWS)]
    memory.pages_left = 1
    with TestClient(app(memory)) as client, pytest.raises(Exception):  # noqa: B017
        ask(client, accept=ARROW)


WHY = {
    "rule": "hrv-drop",
    "reason": "HRV fell",
    "confidence": 0.9,
    "evidence": """[{"metric": "hrv_rmssd", "value": 41, "unit": "ms", "time": "2026-03-01T07:00:00Z",
        "comparison": "drop_ratio", "threshold": 0.3, "baseline": 62.1, "derived": false}]""",
    "off": '[{"metric": "spo2", "why": "absent"}]',
}


def switched(minute: int, mode: str = "guardian", number: int = 1) -> dict[str, Any]:
    return {"id": UUID(int=number), "at": BEGIN + timedelta(minutes=minute), "mode": mode, "previous": "baseline"} | WHY


def read(client: TestClient, path: str, **parameters: Any) -> Any:
    answer = client.get(path, params=parameters, headers=bearer())
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_mode_comes_with_why(client: TestClient, memory: Memory) -> None:
    memory.person = {"mode": "guardian", "mode_since": BEGIN, "clock": BEGIN + timedelta(hours=2)} | WHY
    body = read(client, "/mode/anna")
    assert (body["mode"], body["since"], body["as_of"]) == ("guardian", "2026-03-01T00:00:00Z", "2026-03-01T02:00:00Z")
    assert (body["rule"], body["reason"], body["confidence"]) == ("hrv-drop", "HRV fell", 0.9)
    assert (body["evidence"][0]["value"], body["evidence"][0]["baseline"]) == (41, 62.1)
    assert body["off"] == [{"metric": "spo2", "why": "absent"}]


def test_somebody_of_whom_nothing_came_is_in_no_mode_for_a_reason(client: TestClient, memory: Memory) -> None:
    body = read(client, "/mode/anna")
    assert (body["mode"], body["since"], body["reason"]) == ("baseline", None, "nothing has been measured yet")
    memory.person = {"mode": "baseline", "mode_since": BEGIN, "clock": BEGIN} | dict.fromkeys(WHY)
    body = read(client, "/mode/anna")
    assert (body["since"], body["reason"], body["evidence"]) == ("2026-03-01T00:00:00Z", "no rule has held yet", [])


def test_switches_of_one_moment_are_on_one_page_each(client: TestClient, memory: Memory) -> None:
    memory.rows = [switched(0, "reflex", 1), switched(0, "guardian", 2), switched(5, "pattern", 3)]
    parameters = RANGE | {"limit": 1}
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = read(client, "/mode/anna/history", **parameters, **after)
        seen += [found["mode"] for found in page["switches"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == ["reflex", "guardian", "pattern"]


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"from": "2026-03-02T00:00:00Z", "to": "2026-03-01T00:00:00Z"}, "from must lie before to"),
        ({"after": cursor(BEGIN, "no uuid")}, "after is no cursor of this service"),
    ],
)
def test_a_history_that_cannot_be_answered_is_explained(
    client: TestClient, parameters: dict[str, str], says: str
) -> None:
    answer = client.get("/mode/anna/history", params=parameters, headers=bearer())
    assert (answer.status_code, answer.json()["detail"]) == (422, says)


def test_patterns_that_ended_are_told_when_they_are_asked_for(client: TestClient, memory: Memory) -> None:
    pattern = {
        "kind": "recurring-dip",
        "detail": "15",
        "level": "high",
        "confidence": 0.5,
        "since": BEGIN,
        "last_seen": BEGIN,
    }
    memory.rows = [pattern | {"ended_at": end, "evidence": '{"times": [5]}'} for end in (None, BEGIN)]
    assert [p["evidence"] for p in read(client, "/patterns/anna")["patterns"]] == [{"times": [5]}]
    assert len(read(client, "/patterns/anna", ended=True)["patterns"]) == 2


def day_of(day: date, value: float, metric: str = "hrv_rmssd", source: str = "w", count: int = 2) -> dict[str, Any]:
    total = round(value * count * 1e6)
    return {"metric": metric, "day": day, "source": source, "count": count, "total": total}


def test_a_baseline_is_of_the_days_before_its_day(client: TestClient, memory: Memory) -> None:
    at = date(2026, 3, 29)
    memory.days_of = [day_of(at - timedelta(days=n), 50 + n) for n in range(30)]
    body = read(client, "/baselines/anna/hrv_rmssd", at="2026-03-29")
    week, month = body["baselines"]
    assert (week["window_days"], week["start"], week["end"], week["days"]) == (7, "2026-03-22", "2026-03-29", 7)
    assert (week["mean"], week["median"], week["mad"], week["readings"]) == (54, 54, 2, 14)
    assert week["sd"] == pytest.approx(2.160247)
    assert (month["window_days"], month["days"], month["trusted"]) == (28, 28, True)
    assert "2026-03-29" not in body["values"]
    assert body["values"]["2026-03-28"] == 51


def test_a_baseline_of_nothing_is_no_number(client: TestClient) -> None:
    body = read(client, "/baselines/anna/steps")
    assert [(b["days"], b["mean"], b["trusted"]) for b in body["baselines"]] == [(0, None, False)] * 2
    assert body["as_of"] == datetime.now(UTC).date().isoformat()
    assert body["values"] == {}


def test_a_report_is_a_page_that_nothing_runs_in(client: TestClient, memory: Memory) -> None:
    memory.days_of = [day_of(date(2026, 3, 7), 41)]
    parameters = {"to": "2026-03-07", "tz": "Europe/Berlin"}
    answer = client.get("/reports/anna", params=parameters, headers=bearer())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert answer.headers["cache-control"] == "no-store"
    assert "Report for Sun 1 Mar to Sat 7 Mar 2026" in answer.text
    assert "Newest: 41 ms on Sat 7 Mar" in answer.text


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"days": 0}, 422),
        ({"days": 32}, 422),
        ({"days": 31}, 200),
        ({"tz": "Nowhere"}, 422),
        ({"to": "1970-01-02"}, 422),
        ({"to": "2200-01-01", "tz": "Pacific/Kiritimati"}, 200),
        ({"to": "today"}, 422),
    ],
)
def test_a_report_is_of_days_that_can_be_asked_for(client: TestClient, parameters: Any, status: int) -> None:
    assert client.get("/reports/anna", params=parameters, headers=bearer()).status_code == status
