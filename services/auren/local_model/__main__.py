"""`python -m auren.local_model`: the local model."""

import os
import signal

from auren.local_model.settings import LocalModelSettings
from auren.settings import load
from auren.telemetry import configure_logging, logger

SERVICE = "local-model"


def main() -> None:
    """Serve until told to stop."""
    settings = load(LocalModelSettings)
    configure_logging(settings, SERVICE)
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before llama.cpp makes its threads, which inherit it
    # Threads that wait for each other would spin: half as fast again where they are alone, five times slower, and in
    # everybody's way, where others use the processors, too. OpenMP reads this when it is loaded, so before the import.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from auren.local_model.server import start

    server = start(settings)
    logger(SERVICE).info("answering", address=server.listening_address)
    signal.sigwait(signals)
    logger(SERVICE).info("stopping")
    del server


if __name__ == "__main__":
    main()
