"""Good and bad specs of the bridge's providers: rows of the table in `spec_cases.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Row = tuple[str, Mapping[str, Any], tuple[str, ...], tuple[str, ...]]
"""What `spec_cases.Case` is made of: title, spec, broken, misshapen."""

SECRET: Final = "credentials.name must name a Secret while enabled is true"
REACHABLE: Final = (
    "spec.bridge: publicURL is needed while providers.oura or providers.whoop is enabled: people come back to it from "
    "the vendor",
)
ADDRESS: Final = ("spec.bridge.publicURL: must be an https address without a path, such as https://bridge.example.com",)
WHOOP: Final = "spec.bridge.providers.whoop"

EVERY_PROVIDER: Final[Mapping[str, Any]] = {
    "publicURL": "https://bridge.example.com",
    "providers": {
        "oura": {"enabled": True, "credentials": {"name": "oura-credentials"}, "windowSeconds": 86400},
        "whoop": {"enabled": True, "credentials": {"name": "whoop-credentials"}, "windowSeconds": 1},
        "terra": {"enabled": True, "credentials": {"name": "terra.credentials"}},
        "healthkit": {"enabled": False},
    },
}
"""All that `spec.bridge` can say about providers."""


def whoop(**fields: Any) -> dict[str, Any]:
    """A spec in which WHOOP has these fields, and the bridge an address."""
    return {"bridge": {"publicURL": "https://b", "providers": {"whoop": fields}}}


def on(provider: str, **bridge: Any) -> dict[str, Any]:
    """A spec in which a provider is on, and the bridge has these fields besides."""
    return {"bridge": {"providers": {provider: {"enabled": True, "credentials": {"name": "o"}}}, **bridge}}


def good(title: str, spec: Mapping[str, Any]) -> Row:
    """Nothing is wrong with it."""
    return title, spec, (), ()


GOOD: Final[tuple[Row, ...]] = (
    good("every provider", {"bridge": EVERY_PROVIDER}),
    good("a provider that is off and has a Secret", whoop(enabled=False, credentials={"name": "w"})),
    good("providers without a word", {"bridge": {"providers": {"oura": {}, "whoop": {}, "healthkit": {}}}}),
    good("Oura with an address", on("oura", publicURL="https://b")),
    good("WHOOP with an address", on("whoop", publicURL="https://b")),
    good("Terra without an address: its widget brings people back by itself", on("terra")),
    good("an address with a port", {"bridge": {"publicURL": "https://Bridge-1.example.com:8443"}}),
)

BAD: Final[tuple[Row, ...]] = (
    ("a provider on, without a Secret", whoop(enabled=True), (f"{WHOOP}: {SECRET}",), ()),
    ("credentials without a name", whoop(enabled=True, credentials={}), (), (f"{WHOOP}.credentials.name",)),
    (
        "a Secret's name in capitals",
        whoop(enabled=True, credentials={"name": "Whoop"}),
        (f"{WHOOP}.credentials.name: must be an object's name: lower case letters, digits, '-' and '.'",),
        (),
    ),
    ("a window of nothing", whoop(windowSeconds=0), (), (f"{WHOOP}.windowSeconds",)),
    ("a window of more than a day", whoop(windowSeconds=86401), (), (f"{WHOOP}.windowSeconds",)),
    ("a word for a window", whoop(windowSeconds="5m"), (), (f"{WHOOP}.windowSeconds",)),
    ("Oura without an address", on("oura"), REACHABLE, ()),
    ("WHOOP without an address", on("whoop"), REACHABLE, ()),
    ("Oura with a bad address", on("oura", publicURL="bridge.example.com"), ADDRESS, ()),
    ("an address without TLS", {"bridge": {"publicURL": "http://bridge.example.com"}}, ADDRESS, ()),
    ("an address with a path", {"bridge": {"publicURL": "https://bridge.example.com/webhooks"}}, ADDRESS, ()),
    ("an address that ends in a slash", {"bridge": {"publicURL": "https://bridge.example.com/"}}, ADDRESS, ()),
    ("an address with a person in it", {"bridge": {"publicURL": "https://me:pw@bridge.example.com"}}, ADDRESS, ()),
    ("an address of nothing", {"bridge": {"publicURL": ""}}, ADDRESS, ()),
    ("an address that ends in a newline", {"bridge": {"publicURL": "https://b\n"}}, ADDRESS, ()),
    ("an address too long", {"bridge": {"publicURL": f"https://{'a' * 505}"}}, (), ("spec.bridge.publicURL",)),
)
