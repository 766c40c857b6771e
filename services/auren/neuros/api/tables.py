"""What holds for everybody: the modes with their thresholds, and the exercises."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends
from pydantic import BaseModel

from auren.auth import Principal
from auren.http import Caller
from auren.modes import Mode, Thresholds
from auren.neuros.protocols import Protocol


class ProtocolsOut(BaseModel):
    """Exercises by name."""

    protocols: dict[str, Protocol]


def routes(caller: Caller, thresholds: Thresholds, protocols: Mapping[str, Protocol]) -> APIRouter:
    """`GET /modes`, `GET /protocols`."""
    routes = APIRouter(tags=["tables"])

    @routes.get("/modes")
    async def modes(_principal: Annotated[Principal, Depends(caller)]) -> dict[str, Any]:
        """Every mode, and the thresholds in force."""
        content: dict[str, Any] = msgspec.to_builtins(thresholds)
        return {"modes": [mode.value for mode in Mode], **content}

    @routes.get("/protocols")
    async def get_protocols(_principal: Annotated[Principal, Depends(caller)]) -> ProtocolsOut:
        """The exercises that NEUROS may suggest: why, how, how long, what is measured, and when to stop."""
        return ProtocolsOut(protocols=dict(protocols))

    return routes
