"""A person's own database server: the shape and rules of `spec.timescaledb.external`, and what it resolves to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from auren_operator.api.schema import Fields, Integer, Rule, Text
from auren_operator.api.syntax import OBJECT_NAME, matches

PORT: Final = 5432
DATABASE: Final = "auren_production"

USERNAME: Final = "username"
PASSWORD: Final = "password"  # noqa: S105 - a key's name
AUTHORITY: Final = "ca.crt"
"""Keys of the person's Secrets."""

TlsMode = Literal["disable", "require", "verify-full"]
TLS_MODE: Final[TlsMode] = "verify-full"


@dataclass(frozen=True, slots=True)
class ExternalDatabase:
    """Where the server is, the name of the Secret with its administrator's login, and how connections are encrypted.

    ``authority`` is the name of the Secret with the certificates that the server's is checked against; None unless
    ``tls_mode`` is ``verify-full``.
    """

    host: str
    port: int
    database: str
    credentials: str
    tls_mode: TlsMode
    authority: str | None


def external_database(asked: Mapping[str, Any] | None) -> ExternalDatabase | None:
    """What the field, held to its rules, asks for; None where it is absent."""
    if asked is None:
        return None
    tls = asked.get("tls", {})
    return ExternalDatabase(
        host=asked["host"],
        port=asked.get("port", PORT),
        database=asked.get("database", DATABASE),
        credentials=asked["credentials"]["name"],
        tls_mode=tls.get("mode", TLS_MODE),
        authority=tls.get("caSecret", {}).get("name"),
    )


def _has_its_authority(asked: Mapping[str, Any]) -> bool:
    tls = asked.get("tls") or {}
    return ((tls.get("mode") or TLS_MODE) == "verify-full") == bool(tls.get("caSecret"))


_SECRET: Final = Fields({"name": Text(253, rules=(OBJECT_NAME,))}, required=("name",))

EXTERNAL: Final = Fields(
    {
        "host": Text(
            253,
            rules=(
                Rule(
                    "must be a host's name or IPv4 address, such as db.example.com",
                    matches(r"[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?"),
                ),
            ),
        ),
        "port": Integer(1, 65535),
        "database": Text(
            63,
            rules=(Rule("must be a database's name such as auren_production", matches(r"[A-Za-z_][A-Za-z0-9_-]*")),),
        ),
        "credentials": _SECRET,
        "tls": Fields({"mode": Text(one_of=("disable", "require", "verify-full")), "caSecret": _SECRET}),
    },
    required=("host", "credentials"),
    rules=(Rule("tls.caSecret must name a Secret while tls.mode is verify-full, and only then", _has_its_authority),),
)
