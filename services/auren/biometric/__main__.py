"""`python -m auren.biometric`: the biometric production service."""

import gc
from typing import Final

from auren.biometric.service import SERVICE, build
from auren.biometric.settings import BiometricSettings
from auren.health import Health
from auren.http import run, serve
from auren.settings import load
from auren.telemetry import Metrics, configure_logging

GC_THRESHOLDS: Final = (100_000, 20, 50)
"""New objects before a collection, and collections of one generation before one of the next. A batch is some hundred
thousand objects in no cycles, which are freed by their counts: with Python's 700 the collector walks through them a
hundred times for nothing, which was 40 % of the time of ingest."""


def main() -> None:
    """Serve until told to stop."""
    gc.set_threshold(*GC_THRESHOLDS)
    settings = load(BiometricSettings)
    configure_logging(settings, SERVICE)
    health, metrics = Health(SERVICE), Metrics("biometric")

    async def service() -> None:
        await serve(build(settings, health, metrics), settings, health, metrics)

    run(service)


if __name__ == "__main__":
    main()
