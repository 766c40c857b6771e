"""`python -m auren.neuros`: NEUROS. `python -m auren.neuros chat`: talk with one that runs."""

import os
import sys

from auren.health import Health
from auren.http import run, serve
from auren.settings import load
from auren.telemetry import Metrics, configure_logging


def main() -> None:
    """Serve until told to stop."""
    from auren.neuros.service import SERVICE, build
    from auren.neuros.settings import NeurosSettings

    settings = load(NeurosSettings)
    configure_logging(settings, SERVICE)
    health, metrics = Health(SERVICE), Metrics("neuros")

    async def service() -> None:
        await serve(build(settings, health, metrics), settings, health, metrics)

    run(service)


if __name__ == "__main__":
    if sys.argv[1:2] == ["chat"]:
        from auren.neuros.chat import main as chat

        code = chat(sys.argv[2:])
        sys.stdout.flush()
        os._exit(code)  # a thread may still wait for a line, and Python would wait for it
    main()
