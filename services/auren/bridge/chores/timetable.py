"""Which chores there are, and how often each runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from auren.bridge.chores import Chore
from auren.bridge.chores.erased import ErasedPeople
from auren.bridge.chores.housekeeping import ExpiredStates, Reencryption
from auren.bridge.chores.ledger import Ledger
from auren.bridge.chores.progress import Progress
from auren.bridge.chores.reconcile import Listed, Reach, Reconciliation
from auren.bridge.chores.runner import Chores
from auren.bridge.chores.subscriptions import OuraSubscriptions, Remembered
from auren.bridge.connect.accounts import Accounts
from auren.bridge.decoders import oura, terra, whoop
from auren.bridge.outbox import Outbox
from auren.bridge.settings import CollectorSettings
from auren.bridge.vendors.clients import Vendors
from auren.bridge.vendors.subscriptions import SubscriptionApi
from auren.database import Database
from auren.telemetry import Metrics

REENCRYPTION_SECONDS: Final = 24 * 3600.0
"""It also runs at every start, and a change of the keyring is one."""

EXPIRED_STATES_SECONDS: Final = 3600.0
ERASED_PEOPLE_SECONDS: Final = 120.0

OURA_REQUESTS: Final = 300
"""Of one round. Oura names no quota, and its 429 ends a round as well."""

WHOOP_REQUESTS: Final = 15
"""Of one round. At a round every five minutes that is less than half of WHOOP's 10,000 a day; the rest is for what
webhooks name, and for people who connect."""


def chores(
    settings: CollectorSettings,
    vendors: Vendors,
    accounts: Accounts,
    database: Database,
    outbox: Outbox,
    metrics: Metrics,
) -> Chores:
    """All of them, for one process."""
    subscriptions = OuraSubscriptions(
        SubscriptionApi(settings.oura_api_url, vendors.client, settings.credentials(oura.PROVIDER)),
        settings.credentials(oura.PROVIDER),
        settings.public_url,
        Remembered(database),
        metrics,
    )
    reach = Reach(timedelta(days=settings.reconcile_lookback_days), timedelta(days=settings.backfill_days))
    reconciliation = Reconciliation(
        sources(settings, vendors), Progress(database), outbox, reach, settings.reconcile_round_seconds, metrics
    )
    erased = ErasedPeople(database, (oura.PROVIDER, whoop.PROVIDER, terra.PROVIDER), accounts, vendors.tokens.erase)
    return Chores(
        (
            Chore("token-reencryption", REENCRYPTION_SECONDS, Reencryption(vendors.tokens, metrics).run, at_start=True),
            Chore("oura-subscriptions", settings.oura_subscriptions_seconds, subscriptions.run),
            Chore("expired-oauth-states", EXPIRED_STATES_SECONDS, ExpiredStates(database).run),
            Chore("erased-people", ERASED_PEOPLE_SECONDS, erased.run),
            Chore("reconciliation", settings.reconcile_round_seconds, reconciliation.run),
        ),
        Ledger(database),
        metrics,
    )


def sources(settings: CollectorSettings, vendors: Vendors) -> tuple[Listed, ...]:
    """What each vendor is asked for: often what no webhook tells, seldom what one should have told."""
    seldom = timedelta(seconds=settings.reconcile_seconds)
    often = timedelta(seconds=settings.poll_seconds)
    return (
        Listed(
            oura.PROVIDER,
            {oura.HEART_RATE: often, **dict.fromkeys(oura.READERS, seldom)},
            vendors.oura.page,
            oura.decode_document,
            OURA_REQUESTS,
        ),
        Listed(
            whoop.PROVIDER,
            {name: often if name == whoop.POLLED else seldom for name in whoop.READERS},
            vendors.whoop.page,
            whoop.decode_document,
            WHOOP_REQUESTS,
        ),
    )
