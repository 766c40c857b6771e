"""The providers of wearable data: which keys their Secrets have, and the rules of `spec.bridge.providers`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from auren_operator.api import names
from auren_operator.api.schema import Boolean, Fields, Integer, Rule, Text
from auren_operator.api.syntax import OBJECT_NAME, matches
from auren_operator.api.terra_kafka import TERRA_KAFKA

HEALTHKIT: Final = "healthkit"
"""Apple's: a phone pushes with a token of the stack's own, so there are no credentials."""

PREVIOUS: Final = "-previous"
"""Ends the key of a credential that stays valid beside its successor, until the vendor signs with the new one."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A vendor that signs what it delivers. Its Secret must have ``keys`` and may have ``optional``.

    ``window_variable`` tells the bridge how far a signature's timestamp may lie from now.
    """

    keys: tuple[str, ...]
    optional: tuple[str, ...]
    window_variable: str

    @property
    def known_keys(self) -> tuple[str, ...]:
        """Every key that the bridge may read, each also as the one before it."""
        return tuple(key + suffix for key in (*self.keys, *self.optional) for suffix in ("", PREVIOUS))


SIGNED: Final[Mapping[str, Provider]] = {
    "oura": Provider(("client-id", "client-secret"), (), names.ENV_OURA_WINDOW_SECONDS),
    "whoop": Provider(("client-id", "client-secret"), (), names.ENV_WHOOP_WINDOW_SECONDS),
    "terra": Provider(("signing-secret",), ("dev-id", "api-key"), names.ENV_TERRA_WINDOW_SECONDS),
}

CALLED_BACK: Final = ("oura", "whoop")
"""Those whose OAuth sends people back to the bridge's own address; Oura also delivers to it."""


def _has_its_secret(provider: Mapping[str, Any]) -> bool:
    return not provider.get("enabled") or "credentials" in provider


def _is_reachable(bridge: Mapping[str, Any]) -> bool:
    called_back = any(bridge["providers"][name].get("enabled") for name in CALLED_BACK)
    return not called_back or "publicURL" in bridge


_SIGNED: Final = Fields(
    {
        "enabled": Boolean(),
        "credentials": Fields({"name": Text(253, rules=(OBJECT_NAME,))}, required=("name",)),
        "windowSeconds": Integer(1, 86400),
    },
    rules=(Rule("credentials.name must name a Secret while enabled is true", _has_its_secret),),
)
_TERRA: Final = Fields({**_SIGNED.fields, "kafka": TERRA_KAFKA}, rules=_SIGNED.rules)
PROVIDERS: Final = Fields(dict.fromkeys(SIGNED, _SIGNED) | {"terra": _TERRA, HEALTHKIT: Fields({"enabled": Boolean()})})

PUBLIC_URL: Final = Text(
    512,
    rules=(
        Rule(
            "must be an https address without a path, such as https://bridge.example.com",
            matches(r"https://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[1-9][0-9]{0,4})?"),
        ),
    ),
)
NEEDS_PUBLIC_URL: Final = Rule(
    "publicURL is needed while providers.oura or providers.whoop is enabled: people come back to it from the vendor",
    _is_reachable,
)
