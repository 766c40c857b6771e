"""A person's values and mode as they change."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import StreamingResponse

from auren.auth import Principal, UnauthorizedError, Verifier
from auren.biometric.api.asking import User
from auren.biometric.live_streams import LiveStreams
from auren.http import Caller, begin
from auren.openapi import problem

EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": (
            "server-sent events: `snapshot` (latest values and mode), then `values` (a list of values as in /latest), "
            "`mode` (a decision as on the topic neuros-mode-switches), `intervention`; `reset` before a snapshot where "
            "something may have been missed"
        ),
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'id: 1767225600000-0\nevent: values\ndata: [{"metric":"heart_rate","value":61}]\n\n',
            }
        },
    },
    **problem(429, "too many streams of one person, or too many requests", "too-many-streams", "too-many-requests"),
}


def routes(reader: Caller, verifier: Verifier, live: LiveStreams) -> APIRouter:
    """`GET /stream/{user}`."""
    routes = APIRouter(tags=["live"])

    @routes.get("/stream/{user}", responses=EVENTS, response_class=StreamingResponse)
    async def get_stream(
        user: User,
        request: Request,
        _caller: Annotated[Principal, Depends(reader)],
        last_event_id: Annotated[str | None, Header(description="id of the last event that arrived")] = None,
    ) -> StreamingResponse:
        """What changes, as it changes, while the token is good. Browsers read it by fetch, which can send a token."""

        def valid() -> bool:
            try:
                verifier.principal(request.headers["authorization"])
            except UnauthorizedError:
                return False
            return True

        pieces = live.events(user, last_event_id, valid)
        begun = await begin(pieces)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(begun, media_type="text/event-stream", headers=headers)

    return routes
