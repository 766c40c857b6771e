"""The CRD on a real API server: it refuses what `api/rules.py` refuses, in the same sentences, and it teaches."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
import pytest_asyncio
import yaml

from auren_operator.api import names
from auren_operator.api.rules import NAME_SENTENCE
from tests.api.cluster import Cluster
from tests.api.controlplane import ControlPlane
from tests.api.places import REPOSITORY
from tests.api.stacks import install_crd
from tests.unit.operator.spec_cases import BAD_NAMES, CASES, EVERYTHING, GOOD_NAMES, Case

Answer = tuple[int, dict[str, Any]]


@dataclass
class Stacks:
    """AurenStacks of one namespace, spoken to without a client in between, with strict field validation."""

    session: aiohttp.ClientSession
    url: str

    async def post(self, spec: Mapping[str, Any], name: str = "demo", *, dry_run: bool = True) -> Answer:
        return await self._send("POST", self.url, body(name, spec), dry_run)

    async def put(self, spec: Mapping[str, Any], name: str, version: str) -> Answer:
        resource = body(name, spec)
        resource["metadata"]["resourceVersion"] = version
        return await self._send("PUT", f"{self.url}/{name}", resource, dry_run=True)

    async def _send(self, verb: str, url: str, resource: dict[str, Any], dry_run: bool) -> Answer:
        query = {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        async with self.session.request(verb, url, params=query, json=resource) as response:
            return response.status, json.loads(await response.read())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()


def body(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": name}, "spec": spec}


@pytest_asyncio.fixture(scope="module")
async def crd(control_plane: ControlPlane, cluster: Cluster) -> ControlPlane:
    """A control plane that knows AurenStacks."""
    await install_crd(cluster)
    return control_plane


@pytest_asyncio.fixture(scope="module")
async def stacks(crd: ControlPlane, cluster: Cluster) -> AsyncIterator[Stacks]:
    """A namespace for this module's AurenStacks."""
    namespace = f"crd-{uuid.uuid4().hex[:8]}"
    await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=crd.admin.ssl_context()))
    url = f"{crd.admin.address}/apis/{names.API_VERSION}/namespaces/{namespace}/{names.PLURAL}"
    async with Stacks(session, url) as ready:
        yield ready


def causes(answer: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Field and message of what an answer complains of; remarks about no field repeat or explain the others."""
    for cause in answer.get("details", {}).get("causes", ()):
        if cause["field"] != "<nil>":
            yield cause["field"], cause["message"]


def split(case: Case, answer: dict[str, Any]) -> tuple[list[str], list[str]]:
    """An answer's complaints: those that are a sentence of the case, and the fields of all others."""
    told, others = [], []
    for field, message in causes(answer):
        sentence = next(
            (s for s in case.broken if s.split(": ", 1)[0] == field and message.endswith(s.split(": ", 1)[1])), ""
        )
        told.append(sentence) if sentence else others.append(field)
    return sorted(told), sorted(others)


@pytest.mark.parametrize("case", [case for case in CASES if case.old is None], ids=str)
async def test_the_api_server_says_the_same(stacks: Stacks, case: Case) -> None:
    code, answer = await stacks.post(case.spec)
    assert code == (422 if case.broken or case.misshapen else 201), answer
    assert split(case, answer) == (sorted(case.broken), sorted(case.misshapen)), list(causes(answer))


@pytest.mark.parametrize("case", [case for case in CASES if case.old is not None], ids=str)
async def test_the_api_server_says_the_same_of_a_change(stacks: Stacks, case: Case) -> None:
    assert case.old is not None
    name = f"s{uuid.uuid4().hex[:8]}"
    code, made = await stacks.post(case.old, name, dry_run=False)
    assert code == 201, made
    code, answer = await stacks.put(case.spec, name, made["metadata"]["resourceVersion"])
    assert code == (422 if case.broken else 200), answer
    assert split(case, answer) == (sorted(case.broken), [])


@pytest.mark.parametrize("name", GOOD_NAMES)
async def test_good_names(stacks: Stacks, name: str) -> None:
    code, answer = await stacks.post({}, name)
    assert code == 201, answer


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_bad_names(stacks: Stacks, name: str) -> None:
    code, answer = await stacks.post({}, name)
    assert code == 422
    assert NAME_SENTENCE in answer["message"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"sise": "demo"}, "spec.sise"),
        ({"version": "1.0"}, "spec.version"),
        ({"kafka": {"storage": {"class": "fast"}}}, "spec.kafka.storage.class"),
        ({"neuros": {"resources": {"limits": {"nvidia.com/gpu": 1}}}}, "spec.neuros.resources.limits.nvidia.com/gpu"),
        ({"images": {"overrides": {"mysql": "mysql"}}}, "spec.images.overrides.mysql"),
        ({"bridge": {"affinity": {"podAffinty": {}}}}, "spec.bridge.affinity.podAffinty"),
    ],
)
async def test_unknown_fields_are_refused(stacks: Stacks, spec: dict[str, Any], field: str) -> None:
    code, answer = await stacks.post(spec)
    assert code == 400
    assert f'unknown field "{field}"' in answer["message"]


async def test_everything_is_kept_as_it_was_written(stacks: Stacks) -> None:
    code, answer = await stacks.post(EVERYTHING)
    assert code == 201, answer
    assert contains(answer["spec"], EVERYTHING)


def contains(kept: Any, written: Any) -> bool:
    if isinstance(written, Mapping):
        return all(key in kept and contains(kept[key], value) for key, value in written.items())
    if isinstance(written, list):
        return len(kept) == len(written) and all(map(contains, kept, written))
    return bool(kept == written)


def test_explain_teaches(crd: ControlPlane) -> None:
    assert "enum: demo, small, medium, large" in crd.kubectl("explain", "aurenstack.spec")
    assert "The default follows from" in crd.kubectl("explain", "auren.spec.kafka.storage.size")
    assert "one row for each component" in crd.kubectl("explain", "aurenstack.status.components").lower()


def test_a_bad_spec_is_refused_in_one_sentence_that_names_the_field(crd: ControlPlane) -> None:
    bad = body("demo", {"neuros": {"replicas": 2, "autoscaling": {"maxReplicas": 3}}})
    with pytest.raises(subprocess.CalledProcessError) as refused:
        crd.kubectl("create", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(bad))
    assert re.search("spec.neuros: .*set replicas or autoscaling, not both$", refused.value.stderr.strip())


@pytest.mark.parametrize(
    "sample", sorted((REPOSITORY / "manifests/samples").glob("*.yaml")), ids=lambda path: path.name
)
def test_samples_are_taken(crd: ControlPlane, sample: Path) -> None:
    resource = yaml.safe_load(sample.read_text())
    resource["metadata"]["namespace"] = "default"
    crd.kubectl("create", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(resource))


async def test_get_shows_the_state_at_a_glance(crd: ControlPlane, stacks: Stacks) -> None:
    name = f"s{uuid.uuid4().hex[:8]}"
    code, _ = await stacks.post({}, name, dry_run=False)
    assert code == 201
    namespace = stacks.url.split("/")[-2]
    status = {
        "version": "0.1.0",
        "componentsReady": "7/7",
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "AllReady", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        ],
    }
    patch = json.dumps({"status": status})
    crd.kubectl("patch", "auren", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    header, line = crd.kubectl("get", "auren", name, "-n", namespace).splitlines()
    assert header.split() == ["NAME", "READY", "REASON", "COMPONENTS", "VERSION", "AGE"]
    assert line.split()[:5] == [name, "True", "AllReady", "7/7", "0.1.0"]
