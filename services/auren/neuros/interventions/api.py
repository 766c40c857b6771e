"""Routes of interventions: what was offered and what came of it, the person's answers, and what they want."""

import uuid
from contextlib import suppress
from datetime import UTC, datetime, time
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from auren.auth import SCOPE_CHAT_NEUROS, Principal, Verifier
from auren.http import ProblemError, authenticated
from auren.link import UnavailableError
from auren.modes import Mode
from auren.neuros.interventions.experience import Learn, experience
from auren.neuros.interventions.outcomes import Effect
from auren.neuros.interventions.preferences import MOST_A_DAY, Preferences, QuietHours
from auren.neuros.interventions.records import Level
from auren.neuros.interventions.store import Acknowledgement, ErasedError, Kept, Store
from auren.openapi import Answers, problem

DEFAULT_LIMIT: Final = 20
GREATEST_LIMIT: Final = 100

ERASED: Final[Answers] = problem(410, "the person was erased", "erased")
UNKNOWN: Final[Answers] = problem(404, "the caller has no such intervention", "unknown-intervention")

_EXAMPLE: Final[dict[str, Any]] = {
    "id": "4f5c0f4e-6a55-5c5b-9d3c-0b8f1f3f1a77",
    "mode": "reflex",
    "level": "high",
    "protocol": "breathing-4-7-8",
    "title": "Slow breathing, 4-7-8",
    "reason": "HRV (RMSSD) is 22 ms, below 25 ms",
    "evidence": [
        {
            "metric": "hrv_rmssd",
            "value": 22,
            "unit": "ms",
            "time": "2026-03-01T07:00:00Z",
            "comparison": "below",
            "threshold": 25,
            "baseline": None,
            "derived": False,
            "confidence": 0.9,
        }
    ],
    "at": "2026-03-01T07:02:11Z",
    "expires_at": "2026-03-01T07:32:11Z",
    "delivered_at": "2026-03-01T07:02:12Z",
    "withdrawn_at": None,
    "acknowledged_at": "2026-03-01T07:10:40Z",
    "acknowledged_as": "done",
    "outcome": [{"metric": "heart_rate", "before": 95, "after": 78, "effect": "better"}],
}


class EvidenceOut(BaseModel):
    """A condition that was met: by which value, against what."""

    metric: str
    value: float
    unit: str
    time: datetime
    comparison: str
    threshold: float
    baseline: float | None = None
    derived: bool = False
    confidence: float = 1.0


class OutcomeOut(BaseModel):
    """One metric that the protocol measures, in its unit; null where no value came."""

    metric: str
    before: float | None
    after: float | None
    effect: Effect | None = Field(description="null while a value is missing, or where nobody can say what is better")


class InterventionOut(BaseModel):
    """An exercise that was offered, why, and what became of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: uuid.UUID
    mode: Mode
    level: Level
    protocol: str
    title: str
    reason: str
    evidence: list[EvidenceOut]
    at: datetime
    expires_at: datetime
    delivered_at: datetime | None = Field(description="when a socket told it first")
    withdrawn_at: datetime | None = Field(description="when its cause was over before it was answered")
    acknowledged_at: datetime | None
    acknowledged_as: Acknowledgement | None
    outcome: list[OutcomeOut]


class InterventionsOut(BaseModel):
    """A page, newest first. `next` is the `before` of the following page, null on the last one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"interventions": [_EXAMPLE], "next": None}]})

    interventions: list[InterventionOut]
    next: uuid.UUID | None


class AcknowledgementIn(BaseModel):
    """The person's answer. Without `outcome` it only says that they have seen it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"outcome": "done"}]})

    outcome: Acknowledgement | None = None


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):  # a missing zone is a KeyError, a folder's name an OSError
        raise ValueError("must be an IANA time zone such as Europe/Berlin") from None
    return value


def _of_the_wall(value: time) -> time:
    if value.tzinfo is not None or value.microsecond:
        raise ValueError("must be a time of the person's own clock such as 22:00")
    return value


class QuietHoursModel(BaseModel):
    """From `from` to before `to` by the person's clock; over midnight where `to` is the earlier one."""

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        json_schema_extra={"examples": [{"from": "22:00", "to": "07:00", "timezone": "Europe/Berlin"}]},
    )

    start: Annotated[time, Field(alias="from")]
    end: Annotated[time, Field(alias="to")]
    timezone: Annotated[str, Field(max_length=64, description="IANA name; it also says when the person's day begins")]

    _checked = field_validator("start", "end")(_of_the_wall)
    _known = field_validator("timezone")(_zone)

    @model_validator(mode="after")
    def _differ(self) -> "QuietHoursModel":
        if self.start == self.end:
            raise ValueError("from and to must differ; give null for no quiet hours")
        return self


class InterventionPreferences(BaseModel):
    """Whether and when. What is left out is as the stack has it; `quiet_hours` null: none."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool
    quiet_hours: QuietHoursModel | None = None
    daily_cap: Annotated[int | None, Field(ge=1, le=MOST_A_DAY, description="at most so many a day")] = None


class PreferencesModel(BaseModel):
    """What a person wants of NEUROS. Nothing is offered before they ask for it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "interventions": {
                        "enabled": True,
                        "quiet_hours": {"from": "22:00", "to": "07:00", "timezone": "Europe/Berlin"},
                        "daily_cap": 4,
                    }
                }
            ]
        },
    )

    interventions: InterventionPreferences


Page = Annotated[int, Query(ge=1, le=GREATEST_LIMIT, description="interventions of a page")]
Before = Annotated[uuid.UUID | None, Query(description="`next` of the page before")]
Identifier = Annotated[uuid.UUID, Path(alias="id", examples=[_EXAMPLE["id"]])]


def router(verifier: Verifier, store: Store, standard: Preferences, learn: Learn | None = None) -> APIRouter:
    """The routes; each takes a bearer token with `chat:neuros`, whose `sub` is the person.

    `standard` is what holds for somebody who has said nothing; `learn` remembers what came of an exercise.
    """
    routes = APIRouter(tags=["interventions"])
    caller = authenticated(verifier, SCOPE_CHAT_NEUROS)
    Caller = Annotated[Principal, Depends(caller)]  # noqa: N806 - a type

    @routes.get("/interventions")
    async def get_interventions(
        principal: Caller, before: Before = None, limit: Page = DEFAULT_LIMIT
    ) -> InterventionsOut:
        """What was offered to the caller, newest first, in pages; each with what came of it."""
        found = await store.newest(principal.user_id, before, limit + 1)
        return InterventionsOut(
            interventions=[shown(kept) for kept in found[:limit]],
            next=found[limit - 1].intervention.id if len(found) > limit else None,
        )

    @routes.post("/interventions/{id}/acknowledge", responses=UNKNOWN)
    async def acknowledge(
        identifier: Identifier,
        principal: Caller,
        answer: AcknowledgementIn | None = None,
    ) -> InterventionOut:
        """Note that the caller has seen an intervention, and whether they did it. May be repeated."""
        kept = await store.acknowledge(principal.user_id, identifier, answer.outcome if answer else None)
        if kept is None:
            raise ProblemError(404, "unknown-intervention", "you have no such intervention")
        if learn is not None and kept.acknowledged_as == "done":
            offered = kept.intervention
            items = list(experience(offered.title, offered.protocol, kept.outcome, datetime.now(UTC)))
            with suppress(UnavailableError):  # the outcome itself is in its table
                await learn(principal.user_id, items)
        return shown(kept)

    @routes.get("/preferences")
    async def get_preferences(principal: Caller) -> PreferencesModel:
        """What the caller wants; for somebody who has said nothing, what holds then."""
        return told(await store.preferences(principal.user_id) or standard)

    @routes.put("/preferences", responses=ERASED)
    async def put_preferences(wanted: PreferencesModel, principal: Caller) -> PreferencesModel:
        """Say what the caller wants, as a whole."""
        preferences = _preferences(wanted.interventions, standard)
        try:
            async with store.person(principal.user_id) as person:
                await person.prefer(preferences)
        except ErasedError:
            raise ProblemError(410, "erased", "the person was erased", "nothing of them is kept any more") from None
        return told(preferences)

    return routes


def shown(kept: Kept) -> InterventionOut:
    """An intervention as the API gives it."""
    return InterventionOut.model_validate(
        {
            **{name: getattr(kept.intervention, name) for name in _TOLD},
            "evidence": [_fields(found, EvidenceOut) for found in kept.intervention.evidence],
            "delivered_at": kept.delivered_at,
            "withdrawn_at": kept.withdrawn_at,
            "acknowledged_at": kept.acknowledged_at,
            "acknowledged_as": kept.acknowledged_as,
            "outcome": [
                OutcomeOut(metric=metric, before=window.before, after=window.after, effect=window.effect(metric))
                for metric, window in kept.outcome.items()
            ],
        }
    )


def _fields(source: object, model: type[BaseModel]) -> dict[str, Any]:
    return {name: getattr(source, name) for name in model.model_fields}


_TOLD: Final = ("id", "mode", "level", "protocol", "title", "reason", "at", "expires_at")


def told(preferences: Preferences) -> PreferencesModel:
    """Preferences as the API gives them."""
    quiet = preferences.quiet_hours
    return PreferencesModel(
        interventions=InterventionPreferences(
            enabled=preferences.enabled,
            quiet_hours=QuietHoursModel(start=quiet.start, end=quiet.end, timezone=preferences.timezone)
            if quiet
            else None,
            daily_cap=preferences.daily_cap,
        )
    )


def _preferences(wanted: InterventionPreferences, standard: Preferences) -> Preferences:
    quiet = wanted.quiet_hours
    given = "quiet_hours" in wanted.model_fields_set
    hours = QuietHours(start=quiet.start, end=quiet.end) if quiet else None
    return Preferences(
        enabled=wanted.enabled,
        quiet_hours=hours if given else standard.quiet_hours,
        timezone=quiet.timezone if quiet else standard.timezone,
        daily_cap=wanted.daily_cap or standard.daily_cap,
    )
