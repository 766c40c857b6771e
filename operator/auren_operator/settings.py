"""The operator's own settings, from environment variables. The chart sets all of them."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from auren_operator.api import names
from auren_operator.api.release import Release, release_from
from auren_operator.kube.lease import LEASE_SECONDS

LEVELS: Final = ("debug", "info", "warning", "error")
GREATEST_LEASE_SECONDS: Final = 600
DEFAULT_METRICS_PORT: Final = 9464


class SettingsError(ValueError):
    """A setting is missing or wrong; the text names it and says what to set."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the process was told. ``watch_namespaces`` is empty when it serves the whole cluster."""

    release: Release
    watch_namespaces: tuple[str, ...]
    namespace: str
    identity: str
    lease_name: str
    lease_seconds: int
    metrics_port: int
    log_level: str

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Settings:
        """Read and check. Raises `SettingsError` that names every variable that is missing or wrong."""
        missing = [name for name in names.IMAGE_ENV.values() if not env.get(name)]
        level = (env.get(names.ENV_LOG_LEVEL) or "info").lower()
        port = env.get(names.ENV_METRICS_PORT) or str(DEFAULT_METRICS_PORT)
        wrong = [
            f"set {', '.join(missing)} to the images that stacks shall run" if missing else "",
            "" if level in LEVELS else f"{names.ENV_LOG_LEVEL} is {level!r}: set one of {', '.join(LEVELS)}",
            "" if _is_port(port) else f"{names.ENV_METRICS_PORT} is {port!r}: set a port from 1 to 65535",
        ]
        seconds = env.get(names.ENV_LEASE_SECONDS) or str(LEASE_SECONDS)
        if not (seconds.isascii() and seconds.isdigit() and LEASE_SECONDS <= int(seconds) <= GREATEST_LEASE_SECONDS):
            bounds = f"{LEASE_SECONDS} to {GREATEST_LEASE_SECONDS}"
            wrong.append(f"{names.ENV_LEASE_SECONDS} is {seconds!r}: set whole seconds, {bounds}")
        if any(wrong):
            raise SettingsError("; ".join(filter(None, wrong)))
        watched = {name.strip() for name in env.get(names.ENV_WATCH_NAMESPACES, "").split(",")}
        pod = env.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}"
        return cls(
            release=release_from(env, version("auren")),
            watch_namespaces=tuple(sorted(watched - {""})),
            namespace=env.get("POD_NAMESPACE") or "default",
            identity=pod,
            lease_name=env.get(names.ENV_LEASE_NAME) or "auren-operator",
            lease_seconds=int(seconds),
            metrics_port=int(port),
            log_level=level,
        )


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536
