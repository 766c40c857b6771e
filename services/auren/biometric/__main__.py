"""`python -m auren.biometric`: the biometric production service."""

from auren.biometric.service import SERVICE, build
from auren.biometric.settings import BiometricSettings
from auren.health import Health
from auren.http import run, serve
from auren.settings import load
from auren.telemetry import Metrics, configure_logging


def main() -> None:
    """Serve until told to stop."""
    settings = load(BiometricSettings)
    configure_logging(settings, SERVICE)
    health, metrics = Health(SERVICE), Metrics("biometric")

    async def service() -> None:
        await serve(build(settings, health, metrics), settings, health, metrics)

    run(service)


if __name__ == "__main__":
    main()
