"""Good and bad specs, and changes from one to another: one table for `api/rules.py` and for the CRD's schema and CEL.

`tests/unit/operator/test_rules.py` runs it through the former, `tests/api/operator/test_crd.py` through a real API
server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.unit.operator import model_cases, provider_cases


@dataclass(frozen=True)
class Case:
    """A spec and what is wrong with it; nothing when both tuples are empty.

    ``broken``: ``path: sentence`` of every broken rule, word for word the same in both places. ``misshapen``: paths of
    what has a wrong type, length or range, which the API server words itself. ``old``: the spec that it replaces.
    """

    title: str
    spec: Mapping[str, Any]
    broken: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    old: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        """The title, as pytest shows it."""
        return self.title


CONNECTIONS: Final = (
    "spec: timescaledb.maxConnections is too small for the greatest number of replicas: allow 5, 2 for each pod of "
    "neuros and biometric, and 4 for each of bridge, counting one pod more of each for rolling updates"
)
OBJECT_NAME: Final = "must be an object's name: lower case letters, digits, '-' and '.'"
QUANTITY: Final = "must be a quantity such as 250m or 512Mi, and more than nothing"
STORAGE: Final = "must be a quantity such as 20Gi, of at least 100Mi"
LABEL_KEY: Final = "a key must be a label's name such as team or example.com/team"
LABEL_VALUE: Final = (
    "a value must have at most 63 letters, digits, '-', '_' and '.', and begin and end with a letter or digit"
)
RESERVED: Final = "a key names a setting that the operator makes itself; docs/reference.md lists them"
STORAGE_CLASS: Final = "spec.redis.storage: storageClassName cannot change: the volumes exist already"
QUORUM: Final = "spec.kafka.replicas: cannot change: the quorum is fixed when the stack is created"

AUTHORITY: Final = (
    "spec.timescaledb.external: tls.caSecret must name a Secret while tls.mode is verify-full, and only then"
)


def external(**changes: Any) -> dict[str, Any]:
    """A spec with an external database; ``changes`` replace its fields, None leaves one out."""
    whole = {
        "host": "db.example.com",
        "port": 6432,
        "database": "measurements",
        "credentials": {"name": "db-admin"},
        "tls": {"mode": "verify-full", "caSecret": {"name": "db-ca"}},
    }
    fields = {key: value for key, value in {**whole, **changes}.items() if value is not None}
    return {"timescaledb": {"external": fields}}


EXTERNAL: Final = external()

EVERYTHING: Final[Mapping[str, Any]] = {
    "size": "large",
    "paused": True,
    "hibernated": True,
    "data": {"deletionPolicy": "Delete"},
    "images": {
        "registry": "registry.example.com:5000/mirror",
        "pullPolicy": "Always",
        "pullSecrets": [{"name": "login"}, {"name": "other.login"}],
        "overrides": {
            "neuros-advanced": "localhost:5000/neuros@sha256:abc",
            "biometric-production": "a/b:c",
            "biometric-bridge": "bridge",
            "local-model": "model:1",
            "jobs": "jobs:1",
            "kafka": "kafka:1",
            "timescaledb": "ts:1",
            "redis": "redis:8",
            "chromadb": "chroma:1",
        },
    },
    "auth": {"issuer": "https://id.example.com/", "audience": "auren"},
    "neuros": {
        "enabled": True,
        "replicas": 2,
        "resources": {
            "requests": {"cpu": "100m", "memory": "128Mi", "ephemeral-storage": "1Gi"},
            "limits": {"cpu": 1, "memory": 1000000000, "ephemeral-storage": "2Gi"},
        },
        "env": [{"name": "AUREN_LOG_LEVEL", "value": "debug"}, {"name": "_HOME"}],
        "nodeSelector": {"example.com/pool": "a", "disk": ""},
        "tolerations": [
            {"operator": "Exists"},
            {"key": "k", "value": "v", "effect": "NoExecute", "tolerationSeconds": 30},
            {"key": "k", "operator": "Exists", "value": "", "effect": "PreferNoSchedule"},
        ],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {
                            "matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}],
                            "matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n"]}],
                        }
                    ]
                },
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 1, "preference": {"matchExpressions": [{"key": "fast", "operator": "Exists"}]}}
                ],
            },
            "podAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 100,
                        "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}},
                    }
                ]
            },
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]},
                        "namespaces": ["default"],
                        "namespaceSelector": {},
                        "matchLabelKeys": ["pod-template-hash"],
                        "mismatchLabelKeys": ["tenant"],
                    }
                ]
            },
        },
        "priorityClassName": "system-cluster-critical",
        "labels": {"team": "body", "example.com/a.b": "A_b-1.c"},
        "annotations": {"example.com/note": "any text, 100 % free\nin two lines"},
        **model_cases.EVERY_MODEL,
    },
    "modes": {"cooldownSeconds": 86400, "thresholds": {"hrv-low/hrv_rmssd/below": "22", "a/b_2/drop_ratio": "0.25"}},
    "biometric": {"autoscaling": {"minReplicas": 2, "maxReplicas": 2, "targetCPUUtilizationPercentage": 100}},
    "bridge": {"enabled": False, "replicas": 50, **provider_cases.EVERY_PROVIDER},
    "kafka": {
        "replicas": 3,
        "storage": {"size": "1.5Ti", "storageClassName": "fast"},
        "resources": {"limits": {"memory": "2Gi"}},
        "config": {"log.retention.hours": "24", "num.io.threads": "4"},
    },
    "timescaledb": {
        "maxConnections": 1000,
        "retentionDays": 3650,
        "compressAfterDays": 3649,
        "config": {"work_mem": "8MB", "timescaledb.max_background_workers": "8"},
    },
    "redis": {"storage": {"size": 1000000000}, "config": {"maxmemory-policy": "allkeys-lru", "appendfsync": ""}},
    "chromadb": {"resources": {}},
    "networkPolicies": False,
}

GOOD: Final = (
    Case("nothing at all", {}),
    Case("everything", EVERYTHING),
    *(Case(f"size {size}", {"size": size}) for size in ("demo", "small", "medium", "large")),
    Case("as many pods as 50 connections hold", {"size": "demo", "neuros": {"replicas": 15}}),
    Case("no service at all", {name: {"enabled": False} for name in ("neuros", "biometric", "bridge")}),
    Case("autoscaling without a minimum", {"size": "large", "bridge": {"autoscaling": {"maxReplicas": 1}}}),
    Case("a request that equals its limit", {"redis": {"resources": {"requests": {"cpu": 1}, "limits": {"cpu": "1"}}}}),
    Case("the least storage", {"redis": {"storage": {"size": "100Mi"}}}),
    Case("exponents in quantities", {"redis": {"storage": {"size": "1e9"}, "resources": {"limits": {"cpu": "2E0"}}}}),
    Case("kept as short as may be", {"timescaledb": {"retentionDays": 60, "compressAfterDays": 59}}),
    Case("a cooldown of nothing", {"modes": {"cooldownSeconds": 0, "thresholds": {}}}),
    Case("an external database", EXTERNAL),
    Case("an external database in the open", external(tls={"mode": "disable"})),
    Case("an external database that may be anybody", external(tls={"mode": "require"}, host="10.0.0.1")),
    Case("an external database that comes later", EXTERNAL, old={}),
    *(Case(*row) for row in provider_cases.GOOD),
    *(Case(*row) for row in model_cases.GOOD),
)

BAD: Final = (
    Case("a size there is not", {"size": "huge"}, misshapen=("spec.size",)),
    Case("a word for a boolean", {"paused": "yes"}, misshapen=("spec.paused",)),
    Case("a number for a string", {"auth": {"issuer": 1}}, misshapen=("spec.auth.issuer",)),
    Case("an empty issuer", {"auth": {"issuer": ""}}, misshapen=("spec.auth.issuer",)),
    Case("an audience too long", {"auth": {"audience": "a" * 513}}, misshapen=("spec.auth.audience",)),
    Case(
        "a deletion policy there is not", {"data": {"deletionPolicy": "Keep"}}, misshapen=("spec.data.deletionPolicy",)
    ),
    Case("a list for an object", {"kafka": []}, misshapen=("spec.kafka",)),
    Case("an object for a list", {"neuros": {"env": {}}}, misshapen=("spec.neuros.env",)),
    Case("two brokers", {"kafka": {"replicas": 2}}, misshapen=("spec.kafka.replicas",)),
    Case("half a broker", {"kafka": {"replicas": 1.5}}, misshapen=("spec.kafka.replicas",)),
    Case("no pods", {"neuros": {"replicas": 0}}, misshapen=("spec.neuros.replicas",)),
    Case(
        "too few connections to start",
        {"timescaledb": {"maxConnections": 9}},
        (CONNECTIONS,),
        ("spec.timescaledb.maxConnections",),
    ),
    Case(
        "too many connections",
        {"timescaledb": {"maxConnections": 1001}},
        misshapen=("spec.timescaledb.maxConnections",),
    ),
    Case(
        "a threshold without its comparison",
        {"modes": {"thresholds": {"hrv-low/hrv_rmssd": "22"}}},
        ("spec.modes.thresholds: a key must be rule/metric/comparison such as hrv-low/hrv_rmssd/below",),
    ),
    Case(
        "a threshold below nothing",
        {"modes": {"thresholds": {"hrv-low/hrv_rmssd/below": "-1"}}},
        ("spec.modes.thresholds[hrv-low/hrv_rmssd/below]: must be a positive number such as 22 or 0.25",),
    ),
    Case(
        "a cooldown of more than a day",
        {"modes": {"cooldownSeconds": 86401}},
        misshapen=("spec.modes.cooldownSeconds",),
    ),
    Case(
        "kept for less than patterns look back",
        {"timescaledb": {"retentionDays": 59}},
        misshapen=("spec.timescaledb.retentionDays",),
    ),
    Case(
        "kept for too long",
        {"timescaledb": {"retentionDays": 3651}},
        misshapen=("spec.timescaledb.retentionDays",),
    ),
    Case(
        "compressed at once",
        {"timescaledb": {"compressAfterDays": 0}},
        misshapen=("spec.timescaledb.compressAfterDays",),
    ),
    Case(
        "compressed when it is dropped",
        {"timescaledb": {"retentionDays": 60, "compressAfterDays": 60}},
        ("spec.timescaledb: compressAfterDays must be less than retentionDays",),
    ),
    Case(
        "compressed after it is dropped by default",
        {"timescaledb": {"compressAfterDays": 365}},
        ("spec.timescaledb: compressAfterDays must be less than retentionDays",),
    ),
    Case("an external database nowhere", external(host=None), misshapen=("spec.timescaledb.external.host",)),
    Case(
        "an external database without a login",
        external(credentials=None),
        misshapen=("spec.timescaledb.external.credentials",),
    ),
    Case(
        "an external database at a URL",
        external(host="postgres://db"),
        ("spec.timescaledb.external.host: must be a host's name or IPv4 address, such as db.example.com",),
    ),
    Case("an external database at no port", external(port=0), misshapen=("spec.timescaledb.external.port",)),
    Case(
        "an external database with a strange name",
        external(database="a b"),
        ("spec.timescaledb.external.database: must be a database's name such as auren_production",),
    ),
    Case(
        "a login of no Secret",
        external(credentials={"name": "Db"}),
        (f"spec.timescaledb.external.credentials.name: {OBJECT_NAME}",),
    ),
    Case("nobody vouches for the database", external(tls=None), (AUTHORITY,)),
    Case("nobody vouches for the database, as asked", external(tls={"mode": "verify-full"}), (AUTHORITY,)),
    Case(
        "somebody vouches in vain",
        external(tls={"mode": "require", "caSecret": {"name": "db-ca"}}),
        (AUTHORITY,),
    ),
    Case(
        "half encrypted",
        external(tls={"mode": "prefer"}),
        misshapen=("spec.timescaledb.external.tls.mode",),
    ),
    Case(
        "autoscaling without a maximum",
        {"neuros": {"autoscaling": {"minReplicas": 1}}},
        misshapen=("spec.neuros.autoscaling.maxReplicas",),
    ),
    Case(
        "a target beyond 100 %",
        {"neuros": {"autoscaling": {"maxReplicas": 2, "targetCPUUtilizationPercentage": 101}}},
        misshapen=("spec.neuros.autoscaling.targetCPUUtilizationPercentage",),
    ),
    Case("a variable without a name", {"bridge": {"env": [{"value": "1"}]}}, misshapen=("spec.bridge.env[0].name",)),
    Case(
        "a variable twice",
        {"bridge": {"env": [{"name": "A"}, {"name": "B"}, {"name": "A", "value": "1"}]}},
        misshapen=("spec.bridge.env[2]",),
    ),
    Case(
        "a number as a variable's value",
        {"bridge": {"env": [{"name": "A", "value": 1}]}},
        misshapen=("spec.bridge.env[0].value",),
    ),
    Case(
        "too many variables",
        {"bridge": {"env": [{"name": f"A{i}"} for i in range(65)]}},
        misshapen=("spec.bridge.env",),
    ),
    Case(
        "too many settings", {"redis": {"config": {f"a{i}": "" for i in range(65)}}}, misshapen=("spec.redis.config",)
    ),
    Case(
        "a number as a setting", {"redis": {"config": {"maxclients": 5}}}, misshapen=("spec.redis.config.maxclients",)
    ),
    Case("a pull policy there is not", {"images": {"pullPolicy": "Sometimes"}}, misshapen=("spec.images.pullPolicy",)),
    Case(
        "a pull Secret without a name",
        {"images": {"pullSecrets": [{}]}},
        misshapen=("spec.images.pullSecrets[0].name",),
    ),
    Case(
        "a toleration's operator there is not",
        {"neuros": {"tolerations": [{"key": "a", "operator": "Maybe"}]}},
        misshapen=("spec.neuros.tolerations[0].operator",),
    ),
    Case(
        "an affinity without a topology key",
        {"neuros": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}}},
        misshapen=("spec.neuros.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey",),
    ),
    Case(
        "a weight of nothing",
        {
            "neuros": {
                "affinity": {
                    "nodeAffinity": {
                        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 0, "preference": {}}]
                    }
                }
            }
        },
        misshapen=("spec.neuros.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight",),
    ),
    Case("a boolean as a quantity", {"redis": {"storage": {"size": True}}}, misshapen=("spec.redis.storage.size",)),
    # Rules
    Case(
        "a scheme before the registry",
        {"images": {"registry": "https://r.example.com"}},
        ("spec.images.registry: must be a registry such as registry.example.com:5000/mirror, without https://",),
    ),
    Case(
        "an image with a space",
        {"images": {"overrides": {"redis": "redis 8"}}},
        ("spec.images.overrides.redis: must be an image's reference such as registry.example.com/redis:8",),
    ),
    Case(
        "a pull Secret in capitals",
        {"images": {"pullSecrets": [{"name": "Login"}]}},
        (f"spec.images.pullSecrets[0].name: {OBJECT_NAME}",),
    ),
    Case(
        "a priority class with a space",
        {"bridge": {"priorityClassName": "very high"}},
        (f"spec.bridge.priorityClassName: {OBJECT_NAME}",),
    ),
    Case(
        "a storage class that ends in a newline",
        {"redis": {"storage": {"storageClassName": "fast\n"}}},
        (f"spec.redis.storage.storageClassName: {OBJECT_NAME}",),
    ),
    Case(
        "an empty storage class",
        {"redis": {"storage": {"storageClassName": ""}}},
        (f"spec.redis.storage.storageClassName: {OBJECT_NAME}",),
    ),
    Case(
        "replicas and autoscaling",
        {"neuros": {"replicas": 2, "autoscaling": {"maxReplicas": 3}}},
        ("spec.neuros: set replicas or autoscaling, not both",),
    ),
    Case(
        "a minimum above the maximum",
        {"biometric": {"autoscaling": {"minReplicas": 4, "maxReplicas": 3}}},
        ("spec.biometric.autoscaling: minReplicas must not exceed maxReplicas",),
    ),
    Case("more pods than 50 connections hold", {"size": "demo", "neuros": {"replicas": 16}}, (CONNECTIONS,)),
    Case("more pods than connections after scaling", {"bridge": {"autoscaling": {"maxReplicas": 50}}}, (CONNECTIONS,)),
    Case(
        "a size for which 28 connections are too few",
        {"size": "medium", "timescaledb": {"maxConnections": 28}},
        (CONNECTIONS,),
    ),
    Case(
        "a quantity that is none",
        {"kafka": {"resources": {"limits": {"memory": "2 GB"}}}},
        (f"spec.kafka.resources.limits.memory: {QUANTITY}",),
    ),
    Case(
        "a negative request",
        {"kafka": {"resources": {"requests": {"cpu": "-1"}}}},
        (f"spec.kafka.resources.requests.cpu: {QUANTITY}",),
    ),
    Case(
        "a limit of nothing",
        {"kafka": {"resources": {"limits": {"cpu": 0}}}},
        (f"spec.kafka.resources.limits.cpu: {QUANTITY}",),
    ),
    Case(
        "a CPU request above its limit",
        {"kafka": {"resources": {"requests": {"cpu": 2}, "limits": {"cpu": "1999m"}}}},
        ("spec.kafka.resources: a request must not exceed its limit",),
    ),
    Case(
        "a memory request above its limit",
        {"bridge": {"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "1G"}}}},
        ("spec.bridge.resources: a request must not exceed its limit",),
    ),
    Case(
        "a disk request above its limit",
        {"redis": {"resources": {"requests": {"ephemeral-storage": "2Gi"}, "limits": {"ephemeral-storage": "1Gi"}}}},
        ("spec.redis.resources: a request must not exceed its limit",),
    ),
    Case("storage too small", {"chromadb": {"storage": {"size": "99Mi"}}}, (f"spec.chromadb.storage.size: {STORAGE}",)),
    Case(
        "storage that is no quantity",
        {"chromadb": {"storage": {"size": "big"}}},
        (f"spec.chromadb.storage.size: {STORAGE}",),
    ),
    Case(
        "a variable's name with a space",
        {"neuros": {"env": [{"name": "MY VAR"}]}},
        ("spec.neuros.env[0].name: must be a variable's name such as AUREN_LOG_LEVEL",),
    ),
    Case(
        "a variable of the operator's",
        {"neuros": {"env": [{"name": "AUREN_KAFKA_BOOTSTRAP", "value": "evil:9092"}]}},
        ("spec.neuros.env[0].name: is a variable that the operator sets itself; docs/reference.md lists them",),
    ),
    Case("a label with a space", {"neuros": {"labels": {"my team": "a"}}}, (f"spec.neuros.labels: {LABEL_KEY}",)),
    Case(
        "a label's value with a space", {"neuros": {"labels": {"team": "a b"}}}, (f"spec.neuros.labels: {LABEL_VALUE}",)
    ),
    Case(
        "a label of the operator's",
        {"neuros": {"labels": {"app.kubernetes.io/component": "kafka"}}},
        ("spec.neuros.labels: labels that begin with aupex.ai/ or app.kubernetes.io/ are the operator's",),
    ),
    Case(
        "an annotation of the operator's",
        {"neuros": {"annotations": {"aupex.ai/config-hash": "0"}}},
        ("spec.neuros.annotations: annotations that begin with aupex.ai/ are the operator's",),
    ),
    Case(
        "an annotation without a name",
        {"neuros": {"annotations": {"example.com/": "0"}}},
        (f"spec.neuros.annotations: {LABEL_KEY}",),
    ),
    Case(
        "a node's label with a slash too many",
        {"neuros": {"nodeSelector": {"a/b/c": "-"}}},
        (f"spec.neuros.nodeSelector: {LABEL_KEY}", f"spec.neuros.nodeSelector: {LABEL_VALUE}"),
    ),
    Case(
        "a value beside Exists",
        {"bridge": {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}},
        ("spec.bridge.tolerations[0]: value must be left out when operator is Exists",),
    ),
    Case(
        "every key without Exists",
        {"bridge": {"tolerations": [{"value": "b"}]}},
        ("spec.bridge.tolerations[0]: operator must be Exists when key is left out",),
    ),
    Case(
        "seconds without NoExecute",
        {"bridge": {"tolerations": [{"operator": "Exists", "tolerationSeconds": 3}]}},
        ("spec.bridge.tolerations[0]: tolerationSeconds needs effect NoExecute",),
    ),
    Case(
        "a broker's setting with a space",
        {"kafka": {"config": {"log retention": "1"}}},
        ("spec.kafka.config: a key must be a setting's name such as log.retention.hours",),
    ),
    Case(
        "a broker's listeners",
        {"kafka": {"config": {"listeners": "PLAINTEXT://:9092"}}},
        (f"spec.kafka.config: {RESERVED}",),
    ),
    Case(
        "a broker's certificates",
        {"kafka": {"config": {"ssl.keystore.location": "/x"}}},
        (f"spec.kafka.config: {RESERVED}",),
    ),
    Case(
        "a broker's setting in two lines",
        {"kafka": {"config": {"log.retention.hours": "1\nlisteners=x"}}},
        ("spec.kafka.config: a value must be one line",),
    ),
    Case(
        "a server's setting in capitals",
        {"timescaledb": {"config": {"Port": "1"}}},
        ("spec.timescaledb.config: a key must be a setting's name such as work_mem",),
    ),
    Case(
        "a server's door",
        {"timescaledb": {"config": {"hba_file": "/dev/null"}}},
        (f"spec.timescaledb.config: {RESERVED}",),
    ),
    Case(
        "a server's setting in two lines",
        {"timescaledb": {"config": {"work_mem": "1MB\rport=1"}}},
        ("spec.timescaledb.config: a value must be one line",),
    ),
    Case(
        "a cache's setting in capitals",
        {"redis": {"config": {"REQUIREPASS": ""}}},
        ("spec.redis.config: a key must be a setting's name such as maxmemory-policy",),
    ),
    Case("a cache's password", {"redis": {"config": {"requirepass": ""}}}, (f"spec.redis.config: {RESERVED}",)),
    Case(
        "a cache's setting in two lines",
        {"redis": {"config": {"timeout": "\nrequirepass x"}}},
        ("spec.redis.config: a value must be one line",),
    ),
    Case(
        "many things at once",
        {
            "neuros": {"replicas": 30, "autoscaling": {"minReplicas": 2, "maxReplicas": 1}, "env": [{"name": "1"}]},
            "kafka": {"storage": {"size": "0"}, "config": {"A": "\n", "log.dirs": "x"}},
            "redis": {"resources": {"requests": {"cpu": "x"}, "limits": {"cpu": "1"}}},
        },
        (
            "spec.neuros: set replicas or autoscaling, not both",
            "spec.neuros.autoscaling: minReplicas must not exceed maxReplicas",
            "spec.neuros.env[0].name: must be a variable's name such as AUREN_LOG_LEVEL",
            f"spec.kafka.storage.size: {STORAGE}",
            "spec.kafka.config: a key must be a setting's name such as log.retention.hours",
            f"spec.kafka.config: {RESERVED}",
            "spec.kafka.config: a value must be one line",
            f"spec.redis.resources.requests.cpu: {QUANTITY}",
        ),
    ),
    *(Case(*row) for row in provider_cases.BAD),
    *(Case(*row) for row in model_cases.BAD),
)

CHANGES: Final = (
    Case("everything that may change", EVERYTHING, old={"kafka": {"storage": {"storageClassName": "fast"}}}),
    Case("a smaller size", {"size": "demo"}, old={"size": "large"}),
    Case(
        "less storage is the operator's to keep",
        {"redis": {"storage": {"size": "1Gi"}}},
        old={"redis": {"storage": {"size": "2Gi"}}},
    ),
    Case("another deletion policy", {"data": {"deletionPolicy": "Delete"}}, old={}),
    Case("the same brokers", {"kafka": {"replicas": 3}}, old={"kafka": {"replicas": 3}}),
    Case("brokers named later", {"kafka": {"replicas": 1}}, old={}),
    Case("brokers left to the size", {}, old={"kafka": {"replicas": 3}}),
    Case("more brokers", {"kafka": {"replicas": 3}}, (QUORUM,), old={"kafka": {"replicas": 1}}),
    Case("fewer brokers", {"kafka": {"replicas": 1}}, (QUORUM,), old={"kafka": {"replicas": 3}}),
    Case(
        "another storage class",
        {"redis": {"storage": {"storageClassName": "b"}}},
        (STORAGE_CLASS,),
        old={"redis": {"storage": {"storageClassName": "a"}}},
    ),
    Case("a storage class named later", {"redis": {"storage": {"storageClassName": "b"}}}, (STORAGE_CLASS,), old={}),
    Case("a storage class given up", {}, (STORAGE_CLASS,), old={"redis": {"storage": {"storageClassName": "a"}}}),
    Case(
        "a bad change beside a bad value",
        {"kafka": {"replicas": 3, "storage": {"size": "0"}}},
        (QUORUM, f"spec.kafka.storage.size: {STORAGE}"),
        old={"kafka": {"replicas": 1}},
    ),
)

CASES: Final = (*GOOD, *BAD, *CHANGES)

GOOD_NAMES: Final = ("demo", "a1", "a-b", "a" * 30)
BAD_NAMES: Final = ("a", "1a", "a-", "a.b", "a" * 31)
