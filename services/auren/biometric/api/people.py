"""A person as a whole: all that is stored of them, and how it is erased."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from auren.auth import SCOPE_ERASE, SCOPE_READ_BIOMETRICS, Principal, Verifier
from auren.biometric.api.asking import User
from auren.biometric.erasure import Erasure
from auren.biometric.export import Export
from auren.http import Caller, ProblemError, begin
from auren.link import RETRY_AFTER_SECONDS
from auren.openapi import problem

ZIP: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "a zip: README.txt and one file of JSON lines per store",
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    }
}
INCOMPLETE = problem(
    503,
    "a dependency is away, so that some stores still hold something of the person; repeat the request",
    "erasure-incomplete",
    "unavailable",
    "not-configured",
)


class StoreOut(BaseModel):
    """One store that was emptied of the person."""

    store: str
    removed: int = Field(description="rows, keys or sessions that were removed this time")


class ErasedOut(BaseModel):
    """Every store of this service and NEUROS holds nothing of the person any more."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"user": "anna", "stores": [{"store": "readings", "removed": 5210}]}]}
    )

    user: str
    stores: list[StoreOut]


def routes(reader: Caller, verifier: Verifier, erasure: Erasure, export: Export) -> APIRouter:
    """`DELETE /users/{user}` and `GET /users/{user}/export`."""
    routes = APIRouter(tags=["people"])

    async def may_erase(request: Request) -> Principal:
        """The person, with the right to read; anybody else only with the scope `erase`."""
        principal = await verifier.caller(request.headers.get("authorization"))
        own = principal.user_id == request.path_params["user"]
        principal.require(SCOPE_READ_BIOMETRICS if own else SCOPE_ERASE)
        return principal

    @routes.delete("/users/{user}", responses=INCOMPLETE)
    async def erase(user: User, request: Request, _caller: Annotated[Principal, Depends(may_erase)]) -> ErasedOut:
        """Erase a person from every store, for good. Nothing of them is taken in from then on.

        The bridge ends connected accounts within minutes, a week at most while a vendor is away. The logs keep what
        they hold until their retention ends (7 days, dead letters 30), and nobody reads it any more. May be repeated at
        any time.
        """
        found = await erasure.erase(user, request.headers["authorization"])
        missing = [f"{one.store}: {one.trouble}" for one in found if one.trouble]
        if missing:
            raise ProblemError(
                503,
                "erasure-incomplete",
                "the erasure is not complete, repeat the request",
                "; ".join(missing),
                {"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        return ErasedOut(user=user, stores=[StoreOut(store=one.store, removed=one.removed) for one in found])

    @routes.get("/users/{user}/export", responses=ZIP, response_class=StreamingResponse)
    async def get_export(
        user: User, request: Request, _caller: Annotated[Principal, Depends(reader)]
    ) -> StreamingResponse:
        """All that is stored of a person: a zip with one file per store. One export is made at a time."""
        pieces = export.stream(user, request.headers["authorization"])
        begun = await begin(pieces)
        headers = {"Content-Disposition": 'attachment; filename="auren-export.zip"', "Cache-Control": "no-store"}
        return StreamingResponse(begun, media_type="application/zip", headers=headers)

    return routes
