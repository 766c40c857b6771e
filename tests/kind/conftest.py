"""Fixtures of the kind tier: the development cluster, with the operator and one stack in a restricted namespace.

Run through ``make test-kind``, which brings the cluster up, builds and loads the images, and enters its network. The
tests are one story, told in the order of their files: install, use, break, upgrade, uninstall.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.api.cluster import Cluster, Ref
from tests.kind.platform import Platform, credentials

NAMESPACE = "auren-tests"
STACK = "wear"


@pytest_asyncio.fixture(scope="session")
async def cluster() -> AsyncIterator[Cluster]:
    """The cluster's API."""
    async with Cluster(credentials()) as client:
        yield client


@pytest_asyncio.fixture(scope="session")
async def platform(cluster: Cluster) -> AsyncIterator[Platform]:
    """A namespace of the tests' own, under the enforced restricted standard; what an earlier run left is removed."""
    await cluster.delete(Ref("Namespace", "", NAMESPACE), missing_ok=True)
    await cluster.gone(Ref("Namespace", "", NAMESPACE), timeout_seconds=180)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
    made = Platform(cluster, NAMESPACE, STACK)
    yield made
    await made.http.aclose()
    await cluster.delete(Ref("Namespace", "", NAMESPACE), missing_ok=True)
