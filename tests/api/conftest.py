"""Fixtures of the api tier: real servers as plain processes, each started at first use and shared by the session."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from tests.api import stores
from tests.api.cluster import Cluster, Ref
from tests.api.controlplane import ControlPlane
from tests.api.operator_process import Operator
from tests.api.processes import Servers
from tests.api.stacks import install_crd, make_namespace


@pytest.fixture(scope="session")
def store_servers() -> Iterator[Servers]:
    """The group that ends the stores when the session ends."""
    with Servers("stores") as servers:
        yield servers


@pytest.fixture(scope="session")
def kafka(store_servers: Servers) -> stores.Kafka:
    """A Kafka broker with SASL and ACLs as in a stack."""
    return stores.start_kafka(store_servers)


@pytest.fixture(scope="session")
def postgres(store_servers: Servers) -> stores.Postgres:
    """A PostgreSQL with TimescaleDB; make a database of your own in it."""
    return stores.start_postgres(store_servers)


@pytest.fixture(scope="session")
def redis_store(store_servers: Servers) -> stores.Redis:
    """A Redis with a password."""
    return stores.start_redis(store_servers)


@pytest.fixture(scope="session")
def chroma(store_servers: Servers) -> stores.Chroma:
    """A Chroma server."""
    return stores.start_chroma(store_servers)


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """A Kubernetes control plane with fake nodes."""
    with Servers("control-plane") as servers:
        plane = ControlPlane(servers, controller_flags=["--kube-api-qps=200", "--kube-api-burst=400"])
        plane.start()
        yield plane


@pytest_asyncio.fixture(scope="session")
async def cluster(control_plane: ControlPlane) -> AsyncIterator[Cluster]:
    """The control plane's API, as its admin."""
    async with Cluster(control_plane.admin) as client:
        yield client


@asynccontextmanager
async def some_namespace(cluster: Cluster) -> AsyncIterator[str]:
    """A namespace that enforces the restricted standard; it goes at the end, without being waited for."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    await make_namespace(cluster, name)
    yield name
    await cluster.delete(Ref("Namespace", "", name), missing_ok=True)


@pytest_asyncio.fixture
async def namespace(cluster: Cluster) -> AsyncIterator[str]:
    """A namespace of the test's own."""
    async with some_namespace(cluster) as name:
        yield name


@pytest_asyncio.fixture
async def other_namespace(cluster: Cluster) -> AsyncIterator[str]:
    """A second namespace of the test's own."""
    async with some_namespace(cluster) as name:
        yield name


@pytest_asyncio.fixture(scope="session")
async def crd(cluster: Cluster) -> None:
    """The AurenStack kind, and the namespace of the operator's Lease."""
    await install_crd(cluster)


@pytest.fixture(scope="session")
def operator_of_the_session(control_plane: ControlPlane, crd: None) -> Operator:
    """The operator that most tests share; ask for ``operator`` instead, which makes sure that it runs."""
    return Operator(control_plane)


@pytest_asyncio.fixture
async def operator(operator_of_the_session: Operator) -> Operator:
    """A running operator that leads. A test may stop or kill it: the next test finds it running again."""
    if not operator_of_the_session.server.running:
        await operator_of_the_session.start()
    return operator_of_the_session
