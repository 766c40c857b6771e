"""`python -m auren.bridge serve`, `collect`, `dlq` and `simulate`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

PROGRAM: Final = "python -m auren.bridge"


class Command(NamedTuple):
    """One subcommand. What it needs is imported when it runs: a service does not carry the tools with it."""

    summary: str
    run: Callable[[Sequence[str]], int]


def _serve(arguments: Sequence[str]) -> int:
    _no_options("serve", arguments)
    from auren.bridge.serve_process import serve_webhooks
    from auren.http import run

    run(serve_webhooks)
    return 0


def _collect(arguments: Sequence[str]) -> int:
    _no_options("collect", arguments)
    from auren.bridge.collect_process import collect_events
    from auren.http import run

    run(collect_events)
    return 0


def _dlq(arguments: Sequence[str]) -> int:
    from auren.bridge import dlq

    return dlq.main(arguments)


def _simulate(arguments: Sequence[str]) -> int:
    from auren.bridge import simulate

    return simulate.main(arguments)


COMMANDS: Final = {
    "serve": Command("take the providers' webhooks and append them to the log, until told to stop", _serve),
    "collect": Command("turn the log into events, until told to stop", _collect),
    "dlq": Command("list, show and replay what failed (dead letters)", _dlq),
    "simulate": Command("send realistic signed deliveries to a bridge", _simulate),
}


def _no_options(command: str, arguments: Sequence[str]) -> None:
    """`serve` and `collect` take their settings from the environment."""
    settings = "Settings are the environment variables AUREN_* and the files in AUREN_SECRETS_DIR."
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} {command}", description=COMMANDS[command].summary, epilog=settings
    )
    parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run one subcommand; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="The bridge from providers to Kafka.",
        epilog="\n".join(["commands:", *(f"  {name:<10}{command.summary}" for name, command in COMMANDS.items())])
        + f"\n\n{PROGRAM} COMMAND --help tells the options of one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below, with its options")
    # The rest belongs to the subcommand.
    return COMMANDS[parser.parse_args(arguments[:1]).command].run(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
