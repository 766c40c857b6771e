"""The process `collect`, put together from its parts."""

from __future__ import annotations

from auren.bridge.chores.timetable import chores
from auren.bridge.collector import Collector
from auren.bridge.connect.accounts import Accounts
from auren.bridge.connect.books import Books
from auren.bridge.connections import Connections
from auren.bridge.decoders import healthkit, oura, terra, whoop
from auren.bridge.decoders.fetched import read_whose
from auren.bridge.desk import Desk, Source
from auren.bridge.errands import Errands
from auren.bridge.fetching import Fetchable, Fetching
from auren.bridge.outbox import Outbox
from auren.bridge.parking import Parking
from auren.bridge.records import LOGS
from auren.bridge.settings import CollectorSettings
from auren.bridge.tokens import TokenBox
from auren.bridge.vendors.breaker import Breakers
from auren.bridge.vendors.clients import Vendors
from auren.bridge.vendors.download import Downloads
from auren.database import Database
from auren.health import Health
from auren.http import create_app, serve
from auren.kafka import Consumer, Producer
from auren.migrations import REVISION
from auren.settings import load
from auren.telemetry import Metrics, configure_logging
from auren.topics import BRIDGE_GROUP

SOURCES = {
    healthkit.PROVIDER: Source(healthkit.decode),
    oura.PROVIDER: Source(oura.decode, read_whose),
    terra.PROVIDER: Source(terra.decode, terra.read_whose),
    whoop.PROVIDER: Source(whoop.decode, read_whose),
}


def fetchables(vendors: Vendors) -> dict[str, Fetchable]:
    """How the documents are had that webhooks only name, by provider."""
    return {
        oura.PROVIDER: Fetchable(vendors.oura.fetch, oura.decode_document, oura.deletion),
        whoop.PROVIDER: Fetchable(vendors.whoop.fetch, whoop.decode_document, whoop.deletion),
    }


async def collect_events() -> None:
    """`collect`: until the signal to stop."""
    settings = load(CollectorSettings)
    configure_logging(settings, "biometric-bridge-collect")
    metrics = Metrics("collector")
    health = Health("biometric-bridge collect")
    database = Database(settings, application="biometric-bridge-collect", revision=REVISION)
    producer = Producer(settings, "biometric-bridge-collect")
    breakers = Breakers(metrics)
    vendors = Vendors(settings, settings, database, breakers)
    downloads = Downloads(settings.terra_payload_hosts, breakers.of("terra-payloads"))
    desk = Desk(SOURCES, Connections(database), database.erased_users)
    outbox, parking = Outbox(producer, metrics), Parking(database)
    errands = Errands(desk, outbox, parking, Fetching(fetchables(vendors), metrics), downloads.download, metrics)
    collector = Collector(desk, outbox, parking, errands.wake)
    accounts = Accounts(settings, Books(database, TokenBox(settings.oauth_keyring.get_secret_value())), breakers)
    jobs = chores(settings, vendors, accounts, database, outbox, metrics)
    consumer = Consumer(
        settings, client_id="biometric-bridge-collect", group=BRIDGE_GROUP, topics=LOGS, handle=collector.handle
    )
    metrics.gauge("lag_records", "Deliveries that wait").set_function(lambda: sum(consumer.lag().values()))
    breakers.watch("kafka", lambda: producer.link.state)
    breakers.watch("database", lambda: database.link.state)
    health.add("kafka", producer.check)
    health.add("consumer", consumer.check)
    health.add("errands", errands.check)
    health.add("database", database.check)
    health.add("chores", jobs.check)
    health.add("redis", vendors.check)
    health.add("breakers", breakers.check)
    parts = (database, producer, vendors, accounts, downloads, errands, jobs, consumer)
    app = create_app("collector", settings, health, metrics, parts=parts)
    await serve(app, settings.model_copy(update={"port": settings.health_port}), health, metrics)
