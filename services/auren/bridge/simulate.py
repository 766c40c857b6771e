"""`python -m auren.bridge simulate`: signed deliveries of every provider about people who do not exist.

It sends at a steady rate whether or not answers come (open loop), so a slow bridge shows as latency and not as fewer
deliveries; beyond MAX_IN_FLIGHT unanswered ones it holds back and says so. Days of the past go before, one delivery
after the other. It always ends by itself. What it sends is real to the bridge: a stack that it is pointed at stores it,
under the user ids that it is given. Notices of Oura and WHOOP hold ids of the vendor only, so they wait in the bridge
until its connections know those ids.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import math
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from auren.auth import SCOPE_PUSH_HEALTHKIT, mint
from auren.bridge.credentials import CLIENT_SECRET, SIGNING_SECRET, Credentials
from auren.bridge.simulated_history import History
from auren.bridge.simulated_people import Person, people
from auren.bridge.simulated_vendors import PAST, PROVIDERS, Sent, deliver

MAX_RATE: Final = 1000.0
"""Deliveries a second. Two busy cores that bridge and broker shared kept up with 200 to 400; the report says if not."""
MAX_SECONDS: Final = 24 * 3600.0
MAX_DELIVERIES: Final = 1_000_000
MAX_USERS: Final = 10_000
MAX_HISTORY_DAYS: Final = 60
"""The biometric service keeps what is older than 29 days when it comes as `late`: shown, but nothing learnt from it."""
MAX_HISTORY_DELIVERIES: Final = 100_000
HISTORY_SECONDS_EACH: Final = 0.1
"""What a delivery of the past takes at most where all is well; tokens are made to last for so long."""
MAX_IN_FLIGHT: Final = 500
TELL_LATE_SECONDS: Final = 0.1
TIMEOUT_SECONDS: Final = 10.0
"""The longest that any vendor waits (Oura) before it counts a delivery as failed."""

DEFAULT_SECRETS_DIR: Final = Path("/run/auren/providers")
SECRETS: Final[Mapping[str, str]] = {"oura": CLIENT_SECRET, "whoop": CLIENT_SECRET, "terra": SIGNING_SECRET}
"""Name of the file that signs, by provider; those without one need a token."""
CLUSTER_SUFFIXES: Final = (".svc", ".cluster.local")

Resolve = Callable[[str], Iterable[str]]
"""Addresses of a host name. Raises OSError."""
Keys = Callable[[str, Person], bytes]
"""What signs (or, for healthkit, is) a provider's deliveries about a person."""


class RefusedError(ValueError):
    """What was asked for is not done; the message says why."""


@dataclass(slots=True)
class Outcome:
    """What became of one provider's deliveries. `other` counts statuses, and errors by their type."""

    sent: int = 0
    accepted: int = 0
    other: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def add(self, answer: int | str, seconds: float) -> None:
        """A status, or the type of an error; seconds from the moment when it was due."""
        self.seconds.append(seconds)
        if isinstance(answer, int) and 200 <= answer < 300:
            self.accepted += 1
        else:
            self.other[str(answer)] += 1

    def __add__(self, more: Outcome) -> Outcome:
        return Outcome(
            self.sent + more.sent, self.accepted + more.accepted, self.other + more.other, self.seconds + more.seconds
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent: `history`, then `rate` deliveries a second for `seconds`, provider by provider, person by person.

    Its length is that of the steady part.
    """

    providers: Sequence[str]
    people: Sequence[Person]
    rate: float
    seconds: float
    history: History | None = None

    @property
    def past(self) -> int:
        """How many deliveries the history has."""
        return len(self.history) if self.history else 0

    def __len__(self) -> int:
        return math.ceil(self.rate * self.seconds)

    def delivery(self, index: int, now: datetime, keys: Keys) -> Sent:
        """Delivery `index` from 0, to be sent at `now` (UTC)."""
        turn, which = divmod(index, len(self.providers))
        number, who = divmod(turn, len(self.people))
        provider, person = self.providers[which], self.people[who]
        return deliver(provider, person, number, now, keys(provider, person))


class Simulation:
    """One run of a plan against one bridge."""

    def __init__(self, client: httpx.AsyncClient, plan: Plan, keys: Keys) -> None:
        """`client` has the bridge's address as its base."""
        self._client = client
        self._plan = plan
        self._keys = keys
        self._flying: set[asyncio.Task[None]] = set()
        self.outcomes = {provider: Outcome() for provider in plan.providers}
        self.history = Outcome()
        self.held_back = 0
        self.late_seconds = 0.0
        """The longest that a delivery was made after it was due: beyond a little, this process is what is slow."""

    @property
    def successful(self) -> bool:
        """Whether every planned delivery was sent and answered with 2xx."""
        return self.total().accepted == len(self._plan) and self.history.accepted == self._plan.past

    def total(self) -> Outcome:
        """Of all providers, without the history."""
        return sum(self.outcomes.values(), Outcome())

    async def run(self) -> None:
        """Send the history, then everything when it is due; then wait for what is unanswered."""
        await self._send_history()
        await self._send_steadily()
        if self._flying:
            await asyncio.wait(set(self._flying))

    async def _send_history(self) -> None:
        """Oldest first, each when the one before is accepted. One that is not ends it: a bridge that is away for one
        is away for all, and each would wait in vain."""
        loop = asyncio.get_running_loop()
        for past in self._plan.history or ():
            sent = past.delivery(datetime.now(UTC), self._keys(past.provider, past.person))
            await self._send(sent, self.history, loop.time())
            if self.history.other:
                return

    async def _send_steadily(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for index in range(len(self._plan)):
            due = began + index / self._plan.rate
            await asyncio.sleep(max(0.0, due - loop.time()))
            self.late_seconds = max(self.late_seconds, loop.time() - due)
            if len(self._flying) >= MAX_IN_FLIGHT:
                self.held_back += 1
                continue
            sent = self._plan.delivery(index, datetime.now(UTC), self._keys)
            task = asyncio.create_task(self._send(sent, self.outcomes[sent.provider], due))
            self._flying.add(task)
            task.add_done_callback(self._flying.discard)

    async def _send(self, sent: Sent, outcome: Outcome, due: float) -> None:
        outcome.sent += 1
        answer: int | str
        try:
            answer = (await self._client.post(sent.path, content=sent.body, headers=sent.headers)).status_code
        except httpx.HTTPError as error:
            answer = type(error).__name__
        outcome.add(answer, asyncio.get_running_loop().time() - due)

    def report(self) -> str:
        """A table, a line for each provider, one for all, and one for the history where there is any."""
        lines = [f"{'provider':<10}{'sent':>9}{'2xx':>9}{'p50 ms':>9}{'p99 ms':>9}  other"]
        history = [("history", self.history)] if self._plan.past else []
        for name, outcome in [*self.outcomes.items(), ("all", self.total()), *history]:
            times = "".join(f"{1000 * percentile(outcome.seconds, percent):>9.1f}" for percent in (50, 99))
            other = ", ".join(f"{answer}: {count}" for answer, count in sorted(outcome.other.items()))
            lines.append(f"{name:<10}{outcome.sent:>9}{outcome.accepted:>9}{times}  {other or '-'}")
        if self.history.sent < self._plan.past:
            lines.append(
                f"{self._plan.past - self.history.sent} of the history were not sent, after one that was not accepted"
            )
        if self.held_back:
            lines.append(f"{self.held_back} held back: {MAX_IN_FLIGHT} were unanswered")
        if self.late_seconds > TELL_LATE_SECONDS:
            lines.append(f"up to {1000 * self.late_seconds:.0f} ms late: this process cannot keep up with the rate")
        return "\n".join(lines)


def percentile(values: Sequence[float], percent: int) -> float:
    """By the nearest rank: the least value that so many percent do not exceed. Not a number where there is none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def addresses(host: str) -> list[str]:
    """Of a host name, as the system resolves it."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


def host_of(url: str) -> str:
    """The host of a bridge's address. Raises RefusedError for one that is no such address."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise RefusedError("the URL is not valid") from None
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
        raise RefusedError("the URL must look like http://host:port")
    return host


def require_near(host: str, resolve: Resolve = addresses) -> None:
    """Made-up data goes to a bridge of one's own only: loopback, a private network, a cluster's Service.

    Raises RefusedError for any other host.
    """
    if host.endswith(CLUSTER_SUFFIXES):
        return
    try:
        found = [host] if _is_address(host) else list(resolve(host))
    except (OSError, UnicodeError):
        raise RefusedError(f"{host} cannot be resolved") from None
    if not found or not all(_is_near(address) for address in found):
        raise RefusedError(f"{host} is not loopback, private or in a cluster; --anywhere sends there all the same")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_near(text: str) -> bool:
    address = ipaddress.ip_address(text)
    # An IPv4 address in IPv6 clothes is what it is inside.
    address = getattr(address, "ipv4_mapped", None) or address
    # Link-local is where clouds keep their metadata.
    return address.is_loopback or (address.is_private and not (address.is_link_local or address.is_unspecified))


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan of a command line. Raises RefusedError where it would not end soon."""
    if not 0 < options.rate <= MAX_RATE:
        raise RefusedError(f"--rate is above 0 and at most {MAX_RATE:.0f}")
    if not 0 < options.seconds <= MAX_SECONDS:
        raise RefusedError(f"--seconds is above 0 and at most {MAX_SECONDS:.0f}")
    if options.rate * options.seconds > MAX_DELIVERIES:
        raise RefusedError(f"rate times seconds is at most {MAX_DELIVERIES}")
    if not 0 < len(options.users) <= MAX_USERS:
        raise RefusedError(f"--users are from 1 to {MAX_USERS}")
    now = datetime.now(UTC)
    who = people(options.users, options.seed, bad_night_before=now if options.bad_night else None)
    return Plan(options.providers, who, options.rate, options.seconds, _history(options, who, now))


def _history(options: argparse.Namespace, who: Sequence[Person], now: datetime) -> History:
    if not 0 <= options.history_days <= MAX_HISTORY_DAYS:
        raise RefusedError(f"--history-days is from 0 to {MAX_HISTORY_DAYS}")
    history = History(options.providers, who, options.history_days, now)
    if options.history_days and not len(history):
        raise RefusedError(f"--history-days needs one of {', '.join(PAST)} among the --providers")
    if len(history) > MAX_HISTORY_DELIVERIES:
        raise RefusedError(f"the history has {len(history)} deliveries, at most {MAX_HISTORY_DELIVERIES} are sent")
    return history


def keys_of(options: argparse.Namespace, plan: Plan) -> Keys:
    """The secrets and tokens that the plan needs. Raises RefusedError naming what is missing."""
    found = {name: _secret(options.secrets_dir, name) for name in options.providers if name in SECRETS}
    tokens: dict[str, bytes] = _tokens(options, plan) if set(options.providers) - set(SECRETS) else {}

    def key(provider: str, person: Person) -> bytes:
        return found[provider] if provider in found else tokens[person.user_id]

    return key


def _secret(folder: Path, provider: str) -> bytes:
    secret = Credentials(folder / provider).get(SECRETS[provider])
    if secret is None:
        raise RefusedError(f"no {SECRETS[provider]} in {folder / provider}: --providers leaves {provider} out")
    return secret


def _tokens(options: argparse.Namespace, plan: Plan) -> dict[str, bytes]:
    """A token by user; a given one speaks for its own user whoever the person is."""
    if options.token:
        return dict.fromkeys(options.users, options.token.encode())
    if options.token_key is None:
        raise RefusedError("healthkit needs --token-key or --token: --providers leaves healthkit out")
    try:
        pem = options.token_key.read_bytes()
        return {
            user: mint(
                pem,
                issuer=options.issuer,
                audience=options.audience,
                subject=user,
                scope=SCOPE_PUSH_HEALTHKIT,
                ttl_seconds=int(plan.seconds + plan.past * HISTORY_SECONDS_EACH) + 600,
            ).encode()
            for user in options.users
        }
    except (OSError, ValueError, TypeError) as error:
        raise RefusedError(f"--token-key: {error}") from None


def _names(text: str) -> list[str]:
    """Names between commas; a number stands for as many made-up ones."""
    if text.isdecimal():
        return [f"simulated-{number:04d}" for number in range(1, min(int(text), MAX_USERS + 1) + 1)]
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _providers(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names or set(names) - set(PROVIDERS):
        raise argparse.ArgumentTypeError(f"names of {', '.join(PROVIDERS)}, separated by commas")
    return names


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m auren.bridge simulate",
        description="Send realistic signed deliveries of every provider to a bridge. "
        "Exit code 0 only when all of them were answered with 2xx.",
    )
    add = parser.add_argument
    add("--url", default="http://127.0.0.1:8889", help="the bridge's address, without /webhooks (%(default)s)")
    add("--rate", type=float, default=2.0, help=f"deliveries a second in all, at most {MAX_RATE:.0f} (%(default)s)")
    add("--seconds", type=float, default=30.0, help=f"how long; at most {MAX_DELIVERIES} deliveries (%(default)s)")
    add("--providers", type=_providers, default=",".join(PROVIDERS), help="who sends (%(default)s)")
    add("--users", type=_names, default="3", help="how many made-up people, or user ids between commas (%(default)s)")
    add("--seed", type=int, default=1, help="equal seeds make equal people, ids and measurements (%(default)s)")
    add(
        "--history-days",
        type=int,
        default=0,
        metavar="N",
        help=f"before, each day of the last N, of {', '.join(PAST)}; at most {MAX_HISTORY_DAYS} (%(default)s)",
    )
    add("--bad-night", action="store_true", help="the last night of each is a bad one: HRV falls, resting pulse rises")
    add("--secrets-dir", type=Path, default=DEFAULT_SECRETS_DIR, help="has PROVIDER/client-secret … (%(default)s)")
    add("--token-key", type=Path, help="the stack's private key (PEM): makes a healthkit token for each person")
    add("--token", help="one token for all pushes of healthkit, which then are all its own user's")
    add("--issuer", default=os.environ.get("AUREN_AUTH_ISSUER", "auren"), help="of made tokens (%(default)s)")
    add("--audience", default=os.environ.get("AUREN_AUTH_AUDIENCE", "auren"), help="of made tokens (%(default)s)")
    add("--anywhere", action="store_true", help="also to hosts that are not loopback, private or in a cluster")
    return parser


async def _run(options: argparse.Namespace, plan: Plan, keys: Keys) -> int:
    limits = httpx.Limits(max_connections=MAX_IN_FLIGHT, max_keepalive_connections=MAX_IN_FLIGHT)
    # A proxy of the environment would carry the data elsewhere.
    client = httpx.AsyncClient(base_url=options.url, timeout=TIMEOUT_SECONDS, limits=limits, trust_env=options.anywhere)
    async with client:
        simulation = Simulation(client, plan, keys)
        try:
            await simulation.run()
        finally:  # also when somebody stops it
            print(simulation.report(), flush=True)
    return 0 if simulation.successful else 1


def main(arguments: Sequence[str]) -> int:
    """The command line: 0 when every delivery was answered with 2xx, 1 when not, 2 when nothing was sent."""
    options = parser().parse_args(arguments)
    try:
        plan = plan_of(options)
        host = host_of(options.url)
        if not options.anywhere:
            require_near(host)
        keys = keys_of(options, plan)
    except RefusedError as error:
        print(f"simulate: {error}", file=sys.stderr)
        return 2
    past = f"{plan.past} deliveries of {options.history_days} days before, then " if plan.past else ""
    print(f"{past}{len(plan)} deliveries in {plan.seconds:.0f} s, seed {options.seed}", file=sys.stderr)
    try:
        return asyncio.run(_run(options, plan, keys))
    except KeyboardInterrupt:
        return 130
