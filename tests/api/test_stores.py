"""The stores that the services' tests run against: they answer, and they refuse whom a stack's stores refuse."""

from __future__ import annotations

import asyncpg
import chromadb
import pytest
import redis.asyncio
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError

from tests.api.stores import Chroma, Kafka, Postgres, Redis


def admin_client(kafka: Kafka, password: str) -> AdminClient:
    return AdminClient(
        {
            "bootstrap.servers": kafka.bootstrap,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": kafka.admin_username,
            "sasl.password": password,
        }
    )


def test_kafka_lets_its_admin_in_and_nobody_else(kafka: Kafka) -> None:
    assert admin_client(kafka, kafka.admin_password).list_topics(timeout=10).brokers
    with pytest.raises(KafkaException):
        admin_client(kafka, "wrong").list_topics(timeout=2)


def test_kafka_keeps_port_and_data_over_a_restart(kafka: Kafka) -> None:
    before = admin_client(kafka, kafka.admin_password).list_topics(timeout=10).cluster_id
    kafka.server.kill()
    kafka.server.start()
    assert admin_client(kafka, kafka.admin_password).list_topics(timeout=10).cluster_id == before


async def test_postgres_has_the_extension_and_asks_for_the_password(postgres: Postgres) -> None:
    name = await postgres.create_database()
    connection = await asyncpg.connect(postgres.dsn(name))
    await connection.execute("CREATE TABLE t (at timestamptz NOT NULL, v float8)")
    await connection.execute("SELECT create_hypertable('t', by_range('at'))")
    await connection.close()
    await postgres.drop_database(name)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres.dsn("postgres").replace(postgres.password, "wrong"))


async def test_redis_asks_for_the_password(redis_store: Redis) -> None:
    retry = Retry(NoBackoff(), 0)
    async with redis.asyncio.Redis(port=redis_store.port, password=redis_store.password, retry=retry) as client:
        assert await client.ping()
    async with redis.asyncio.Redis(port=redis_store.port, retry=retry) as client:
        with pytest.raises(AuthenticationError):
            await client.ping()


def test_chroma_finds_the_nearest(chroma: Chroma) -> None:
    client = chromadb.HttpClient(host=chroma.host, port=chroma.port)
    collection = client.create_collection("nearest", embedding_function=None)
    collection.add(ids=["a", "b"], embeddings=[[0.0, 1.0], [1.0, 0.0]])
    assert collection.query(query_embeddings=[[0.1, 0.9]], n_results=1)["ids"] == [["a"]]
