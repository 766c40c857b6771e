"""What the double of a vendor knows besides single documents: lists by time, in pages, and Oura's subscriptions."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

WHOOP_PATHS = ("/v2/activity/sleep", "/v2/activity/workout", "/v2/recovery", "/v2/cycle")
OURA_PATHS = tuple(
    f"/v2/usercollection/{name}"
    for name in (
        "sleep",
        "daily_readiness",
        "daily_activity",
        "daily_spo2",
        "vO2_max",
        "session",
        "workout",
        "heartrate",
    )
)
HEART_RATE = "/v2/usercollection/heartrate"
LONGEST_HEART_RATES = timedelta(days=30)


@dataclass
class Lists:
    """Documents by person and path, in the order in which the vendor gives them; `page` of them at once."""

    PATHS: ClassVar[frozenset[str]] = frozenset({*WHOOP_PATHS, *OURA_PATHS})

    documents: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    page: int = 25
    endless: bool = False
    asked: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    """(person, path, query) of each request."""

    def answer(self, person: str, path: str, query: Mapping[str, str]) -> Response:
        """A page, or the refusal of a query that the vendor would refuse."""
        self.asked.append((person, path, query))
        if path in WHOOP_PATHS:
            if set(query) - {"limit", "start", "end", "nextToken"} or not 0 < int(query["limit"]) <= 25:
                return JSONResponse({}, 400)
            found, most = self._between(person, path, query["start"], query["end"]), int(query["limit"])
            return self._page(found, "records", min(most, self.page), query.get("nextToken"))
        if path == HEART_RATE:
            start, end = query["start_datetime"], query["end_datetime"]
            if _time(end) - _time(start) > LONGEST_HEART_RATES:
                return JSONResponse({}, 400)
            found = self._between(person, path, start, end)
        else:
            first, last = query["start_date"], query["end_date"]
            found = [d for d in self.documents[person, path] if first <= d["day"] < last]
        return self._page(found, "data", self.page, query.get("next_token"))

    def _between(self, person: str, path: str, start: str, end: str) -> list[dict[str, Any]]:
        return [
            document
            for document in self.documents[person, path]
            if _time(start) <= _time(document.get("end") or document.get("timestamp") or document["created_at"])
            and _time(document.get("start") or document.get("timestamp") or document["created_at"]) < _time(end)
        ]

    def _page(self, found: list[dict[str, Any]], name: str, most: int, token: str | None) -> Response:
        first = 0 if token is None else int(token.removeprefix("page+/="))
        more = self.endless or len(found) > first + most
        next_token = f"page+/={first + most}" if more else None
        return JSONResponse({name: found[first : first + most], "next_token": next_token})


@dataclass
class Subscriptions:
    """Oura's. `challenge` is asked before one is made or moved: (address, verification token) → whether it answers."""

    PATH: ClassVar[str] = "/v2/webhook/subscription"

    client_id: str
    client_secret: str
    made: dict[str, dict[str, str]] = field(default_factory=dict)
    lasts: timedelta = timedelta(days=90)
    unique: bool = True
    """One of a kind for the whole application, whatever its address: others are answered 409."""
    challenge: Callable[[str, str], Awaitable[bool]] | None = None

    def add(self, address: str, data_type: str, event_type: str, lasts: timedelta | None = None) -> str:
        """One that somebody has made; its id."""
        made = str(uuid.uuid4())
        self.made[made] = {
            "id": made,
            "callback_url": address,
            "event_type": event_type,
            "data_type": data_type,
            "expiration_time": (datetime.now(UTC) + (self.lasts if lasts is None else lasts)).isoformat(),
        }
        return made

    async def answer(self, request: Request) -> Response:
        """As the vendor's OpenAPI says."""
        keys = request.headers.get("x-client-id"), request.headers.get("x-client-secret")
        if keys != (self.client_id, self.client_secret):
            return JSONResponse({"detail": "Unauthorized"}, 401)
        rest = request.url.path.removeprefix(self.PATH).strip("/")
        match request.method, rest:
            case "GET", "":
                return JSONResponse(list(self.made.values()))
            case "POST", "":
                return await self._create(await request.json())
        found = self.made.get(rest.removeprefix("renew/"))
        if found is None:
            return JSONResponse({"detail": "Forbidden"}, 403)
        match request.method, rest.startswith("renew/"):
            case "PUT", True:
                found["expiration_time"] = (datetime.now(UTC) + self.lasts).isoformat()
                return JSONResponse(found)
            case "PUT", False:
                return await self._move(found, await request.json())
            case "DELETE", False:
                del self.made[found["id"]]
                return Response(status_code=204)
        return JSONResponse({}, 405)

    async def _create(self, body: Mapping[str, str]) -> Response:
        kind = body["data_type"], body["event_type"]
        if self.unique and any((s["data_type"], s["event_type"]) == kind for s in self.made.values()):
            return JSONResponse({"detail": "Conflict"}, 409)
        if not await self._reached(body):
            return JSONResponse({"detail": "verification failed"}, 400)
        return JSONResponse(self.made[self.add(body["callback_url"], *kind)], 201)

    async def _move(self, found: dict[str, str], body: Mapping[str, str]) -> Response:
        if not await self._reached(body):
            return JSONResponse({"detail": "verification failed"}, 400)
        found.update(callback_url=body["callback_url"])
        return JSONResponse(found)

    async def _reached(self, body: Mapping[str, str]) -> bool:
        return self.challenge is None or await self.challenge(body["callback_url"], body["verification_token"])


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
