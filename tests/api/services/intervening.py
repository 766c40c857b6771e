"""`python -m tests.api.services.intervening`: interventions as a process of their own, without the rest of NEUROS.

`GET /follow` tells a person's interventions as a socket does: a line of JSON each. `GET /learnt` is what is remembered.
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Annotated, Any, cast

from fastapi import Depends
from fastapi.responses import StreamingResponse

from auren.auth import Principal, Revocations, Verifier
from auren.database import Database
from auren.health import Health
from auren.http import authenticated, create_app, run, serve
from auren.latest import HotValues
from auren.migrations import REVISION
from auren.neuros.interventions import room
from auren.neuros.interventions.records import Intervention, encode
from auren.neuros.interventions.settings import RoomSettings
from auren.neuros.memory import Item
from auren.settings import DatabaseSettings, ServiceSettings, load
from auren.telemetry import Metrics, configure_logging


class Settings(RoomSettings, DatabaseSettings, ServiceSettings):
    """All that such a process needs."""


async def main() -> None:
    """Serve until told to stop."""
    settings = load(Settings)
    configure_logging(settings, "intervening")
    health, metrics = Health("intervening"), Metrics("neuros")
    database = Database(settings, application="intervening", revision=REVISION)
    revocations = Revocations(database.revoked_tokens)
    verifier, hot = Verifier(settings, revocations), HotValues(settings)
    learnt: dict[str, list[str]] = defaultdict(list)

    async def learn(user_id: str, items: Sequence[Item]) -> int:
        learnt[user_id] += [item.text for item in items if item.text not in learnt[user_id]]
        return len(items)

    made = room.build(settings, database, hot, verifier, health, metrics, learn=learn)
    health.add("database", database.check)
    health.add("revoked-tokens", revocations.check)
    app = create_app("intervening", settings, health, metrics, (database, revocations, hot, *made.parts))
    app.include_router(made.router)

    @app.get("/follow")
    async def follow(principal: Annotated[Principal, Depends(authenticated(verifier))]) -> StreamingResponse:
        found = cast(AsyncGenerator[Intervention, Any], made.sockets.follow(principal.user_id))

        async def lines() -> AsyncIterator[bytes]:
            async with aclosing(found) as interventions:
                async for intervention in interventions:
                    yield encode(intervention) + b"\n"

        return StreamingResponse(lines())

    @app.get("/learnt")
    async def get_learnt(principal: Annotated[Principal, Depends(authenticated(verifier))]) -> list[str]:
        return learnt[principal.user_id]

    @app.delete("/erase")
    async def erase(principal: Annotated[Principal, Depends(authenticated(verifier))]) -> dict[str, int]:
        return await made.store.erase(principal.user_id)

    await serve(app, settings, health, metrics)


if __name__ == "__main__":
    run(main)
