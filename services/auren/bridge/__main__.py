"""`python -m auren.bridge serve` and `python -m auren.bridge collect`."""

import argparse

from auren.bridge.processes import collect_events, serve_webhooks
from auren.http import run

COMMANDS = {"serve": serve_webhooks, "collect": collect_events}


def main() -> None:
    """Run one of the two processes until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m auren.bridge", description="The bridge from providers to Kafka.")
    parser.add_argument("command", choices=COMMANDS, help="serve webhooks, or collect what they brought into events")
    run(COMMANDS[parser.parse_args().command])


if __name__ == "__main__":
    main()
