"""The stores' configuration and start scripts: sound shell, sane values, and the lines that must not be lost."""

from __future__ import annotations

import subprocess

import pytest

from auren_operator.manifests import images
from auren_operator.manifests.model import Manifest
from tests.unit.operator.built import SIZES, a_stack, build, containers, everything, of_kind, one

SCRIPTED = ("kafka", "timescaledb", "redis")


def files(component: str, spec: dict[str, object] | None = None) -> dict[str, str]:
    """A store's files."""
    found: dict[str, str] = one(build(a_stack(spec or {}), component).manifests, "ConfigMap")["data"]
    return found


def last(text: str, separator: str) -> dict[str, str]:
    """Setting → value of a configuration in which the last line wins."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {key.strip(): value.strip() for key, _, value in (line.partition(separator) for line in lines)}


@pytest.mark.parametrize("component", SCRIPTED)
def test_start_scripts_are_shell_that_parses(component: str) -> None:
    """Whether they are sound as well, shellcheck says in the api tier, where they also run."""
    result = subprocess.run(["sh", "-n"], input=files(component)["start.sh"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("component", SCRIPTED)
def test_a_start_script_uses_only_tools_that_the_image_table_names(component: str) -> None:
    contract = next(image for image in images.IMAGES if image.key == component)
    script = files(component)["start.sh"]
    used = {tool for image in images.IMAGES for tool in image.tools if tool in script}
    assert used
    assert used <= set(contract.tools)


@pytest.mark.parametrize("size", SIZES)
def test_no_file_holds_a_password_or_a_secret_hash(size: str) -> None:
    for config in of_kind(everything(a_stack({"size": size})), "ConfigMap"):
        assert "hash of" not in str(config["data"])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("component", ["kafka", "timescaledb", "redis", "chromadb"])
def test_a_store_runs_as_the_image_table_says(component: str, size: str) -> None:
    contract = next(image for image in images.IMAGES if image.key == component)
    ((workload, container),) = list(containers(build(a_stack({"size": size}), component).manifests))
    assert workload["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == contract.user
    assert container["command"] == list(contract.command)
    assert contract.data_path in {mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "data"}


def test_the_image_table_is_printed_with_every_image() -> None:
    table = images.markdown()
    assert all(f"| `{image.key}` |" in table for image in images.IMAGES)
    assert len({line.count(" | ") for line in table.splitlines() if "---" not in line}) == 1


def heap_mebibytes(stateful_set: Manifest) -> int:
    """Kafka's greatest heap."""
    (container,) = stateful_set["spec"]["template"]["spec"]["containers"]
    options = next(variable["value"] for variable in container["env"] if variable["name"] == "KAFKA_HEAP_OPTS")
    return int(options.rpartition("-Xmx")[2].removesuffix("m"))


@pytest.mark.parametrize("size", SIZES)
def test_caches_stay_within_the_memory_limit(size: str) -> None:
    stack = a_stack({"size": size})
    heap = heap_mebibytes(one(build(stack, "kafka").manifests, "StatefulSet"))
    assert 0.4 <= (heap << 20) / stack.kafka.resources.memory_limit_bytes <= 0.5
    cleaner = int(last(files("kafka", {"size": size})["server.properties"], "=")["log.cleaner.dedupe.buffer.size"])
    assert cleaner <= heap << 18
    redis = int(last(files("redis", {"size": size})["redis.conf"], " ")["maxmemory"])
    assert redis <= 0.7 * stack.redis.resources.memory_limit_bytes
    postgres = last(files("timescaledb", {"size": size})["postgresql.conf"], "=")
    buffers = int(postgres["shared_buffers"].strip("'").removesuffix("MB")) << 20
    work = int(postgres["work_mem"].strip("'").removesuffix("MB")) << 20
    assert buffers + work * stack.timescaledb.max_connections <= 0.6 * stack.timescaledb.resources.memory_limit_bytes


def test_redis_evicts_only_what_has_a_time_to_live() -> None:
    assert last(files("redis")["redis.conf"], " ")["maxmemory-policy"].startswith("volatile-")


def test_people_tune_a_store_but_do_not_open_it() -> None:
    tuned = files(
        "timescaledb",
        {"timescaledb": {"config": {"work_mem": "64MB", "log_line_prefix": "it's"}, "maxConnections": 70}},
    )
    settings = last(tuned["postgresql.conf"], "=")
    assert settings["work_mem"] == "'64MB'"
    assert settings["log_line_prefix"] == "'it''s'"
    assert settings["max_connections"] == "'70'"
    assert settings["hba_file"] == "'/etc/auren/pg_hba.conf'"
    kafka = last(
        files("kafka", {"kafka": {"config": {"num.partitions": "7", "log.dir.x": "a\\b"}}})["server.properties"], "="
    )
    assert kafka["num.partitions"] == "7"
    assert kafka["log.dir.x"] == "a\\\\b"
    assert kafka["allow.everyone.if.no.acl.found"] == "false"


@pytest.mark.parametrize(("replicas", "copies", "in_sync"), [(1, "1", "1"), (3, "3", "2")])
def test_kafka_loses_no_acknowledged_record_with_its_node(replicas: int, copies: str, in_sync: str) -> None:
    settings = last(files("kafka", {"kafka": {"replicas": replicas}})["server.properties"], "=")
    for key in ("default", "offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
        assert settings[f"{key}.replication.factor"] == copies
    for key in ("min.insync.replicas", "transaction.state.log.min.isr", "share.coordinator.state.topic.min.isr"):
        assert settings[key] == in_sync
    voters = settings["controller.quorum.voters"].split(",")
    assert voters == [f"{node}@demo-kafka-{node}.demo-kafka.people.svc:9093" for node in range(replicas)]


def test_nobody_comes_in_to_postgres_over_the_network_without_a_password() -> None:
    lines = [line.split() for line in files("timescaledb")["pg_hba.conf"].splitlines() if not line.startswith("#")]
    assert [line[-1] for line in lines if line[0] != "local"] == ["scram-sha-256"]
