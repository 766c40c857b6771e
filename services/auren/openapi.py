"""How the services' problems (RFC 9457) stand in their OpenAPI documents: by status and kind. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

PROBLEM_JSON: Final = "application/problem+json"

Answers = dict[int | str, dict[str, Any]]
"""Responses by status, as FastAPI's `responses` and OpenAPI take them."""

RETRY_AFTER: Final[Mapping[str, Any]] = {
    "Retry-After": {"description": "seconds to wait", "schema": {"type": "integer", "minimum": 1}}
}
_AUTHENTICATE: Final[Mapping[str, Any]] = {"WWW-Authenticate": {"schema": {"const": "Bearer"}}}
_FAULTS: Final[Mapping[str, Any]] = {
    "type": "array",
    "description": "what is wrong where; the input is not repeated",
    "items": {
        "type": "object",
        "required": ["field", "message"],
        "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
    },
}


def urn(kind: str) -> str:
    """The stable `type` of a problem."""
    return f"urn:auren:problem:{kind}"


def problem(status: int, description: str, *kinds: str, headers: Mapping[str, Any] | None = None) -> Answers:
    """The answer of one status, whose `type` is one of `kinds`; `headers` are response headers of OpenAPI."""
    schema = {
        "type": "object",
        "required": ["type", "title", "status"],
        "properties": {
            "type": {"type": "string", "enum": [urn(kind) for kind in kinds]},
            "title": {"type": "string"},
            "status": {"type": "integer", "const": status},
            "detail": {"type": "string"},
            **({"errors": dict(_FAULTS)} if status == 422 else {}),
        },
        "additionalProperties": False,
    }
    answer = {"description": description, "content": {PROBLEM_JSON: {"schema": schema}}}
    return {status: answer | ({"headers": dict(headers)} if headers else {})}


def unauthorized(description: str) -> Answers:
    """401."""
    return problem(401, description, "unauthorized", headers=_AUTHENTICATE)


def unavailable(description: str) -> Answers:
    """503, which says when to come back."""
    return problem(503, description, "unavailable", "not-configured", headers=RETRY_AFTER)


INTERNAL: Final = problem(500, "a defect; what is wrong stands in the service's log", "internal")

ROUTES: Final[Answers] = {
    **problem(400, "the body cannot be read", "http-400"),
    **unauthorized("no valid bearer token"),
    **problem(403, "the token lacks the scope, or speaks for another user", "forbidden"),
    **problem(422, "the request is not valid", "invalid"),
    **problem(429, "too many requests of the token's user in the last minute", "too-many", headers=RETRY_AFTER),
    **INTERNAL,
    **unavailable("a dependency is away, or there is no key to verify tokens with"),
}
"""What every route of a service may answer besides its own answers."""
