"""The rules of a spec: the same that the CRD holds as a schema and CEL, for objects that came in before a rule did.

A sentence here is the message there, word for word; `tests/unit/operator/spec_cases.py` runs through both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from auren_operator.api import defaults, reserved
from auren_operator.api.external import EXTERNAL
from auren_operator.api.modes import MODES
from auren_operator.api.names import IMAGE_ENV, RESERVED_ENVIRONMENT
from auren_operator.api.neuros import EMBEDDINGS_CAN_BE_ASKED, NEUROS_FIELDS, NEUROS_PARENTS
from auren_operator.api.placement import AFFINITY, TOLERATION
from auren_operator.api.pools import least_connections
from auren_operator.api.providers import NEEDS_PUBLIC_URL, PROVIDERS, PUBLIC_URL
from auren_operator.api.quantity import is_quantity, quantity
from auren_operator.api.schema import Boolean, Entries, Fields, Integer, IntOrText, Items, Rule, Text, Transition
from auren_operator.api.spec import Size
from auren_operator.api.syntax import LABEL_KEYS, LABEL_VALUE, OBJECT_NAME, matches
from auren_operator.api.terra_kafka import ANNOTATIONS, NEEDS_EACH_BROKER, has_each_broker

NAME_SENTENCE: Final = (
    "metadata.name must have 2 to 30 characters: lower case letters, digits and '-', first a letter, last no '-'"
)
_NAME: Final = re.compile(r"[a-z][-a-z0-9]*[a-z0-9]")

LEAST_STORAGE: Final = "100Mi"


def name_violations(name: object) -> list[str]:
    """What is wrong with a stack's name; children append up to 30 characters to it."""
    good = isinstance(name, str) and len(name) <= 30 and _NAME.fullmatch(name)
    return [] if good else [NAME_SENTENCE]


def violations(spec: object, old: Mapping[str, Any] | None = None) -> list[str]:
    """Everything that is wrong with ``spec``, as sentences; with ``old``, also with the change from it.

    As in the API server, rules are only asked when the shape (types, lengths, known fields) is right.
    """
    return list(SPEC.shape("spec", spec)) or list(SPEC.judge("spec", _filled(spec), _filled(old)))


def _filled(spec: Any) -> Any:
    """The spec as the API server stores it: parents that were left out are there, empty."""
    if spec is None:
        return None
    parents: dict[str, Any] = {name: spec.get(name) or {} for name in PARENTS}
    stores = {name: {**parents[name], "storage": parents[name].get("storage") or {}} for name in STORES}
    asked = parents["bridge"].get("providers") or {}
    providers = {name: asked.get(name) or {} for name in PROVIDERS.fields}
    neuros = {**parents["neuros"], **{name: parents["neuros"].get(name) or {} for name in NEUROS_PARENTS}}
    return {**spec, **parents, **stores, "neuros": neuros, "bridge": {**parents["bridge"], "providers": providers}}


SERVICES: Final = ("neuros", "biometric", "bridge")
STORES: Final = ("kafka", "timescaledb", "redis", "chromadb")
PARENTS: Final = ("data", "images", "auth", *SERVICES, *STORES)


def _greatest_replicas(service: Mapping[str, Any], size: Size) -> int:
    """As `spec.ServiceSpec.greatest_replicas`, of a service that is not resolved yet."""
    if service.get("enabled") is False:
        return 0
    if service.get("autoscaling"):
        return int(service["autoscaling"]["maxReplicas"])
    return int(service.get("replicas") or defaults.BY_SIZE[size].service_replicas)


def _pools_fit(spec: Mapping[str, Any]) -> bool:
    size: Size = spec.get("size", defaults.SIZE)
    least = least_connections({name: _greatest_replicas(spec[name], size) for name in SERVICES})
    return int(spec["timescaledb"].get("maxConnections", defaults.MAX_CONNECTIONS)) >= least


def _compressed_before_dropped(timescaledb: Mapping[str, Any]) -> bool:
    compressed = timescaledb.get("compressAfterDays", defaults.COMPRESS_AFTER_DAYS)
    return bool(compressed < timescaledb.get("retentionDays", defaults.RETENTION_DAYS))


def _terra_reaches_each_broker(spec: Mapping[str, Any]) -> bool:
    size: Size = spec.get("size", defaults.SIZE)
    brokers = spec["kafka"].get("replicas") or defaults.BY_SIZE[size].kafka_replicas
    return has_each_broker(spec["bridge"]["providers"]["terra"].get("kafka") or {}, brokers)


def _requests_within_limits(resources: Mapping[str, Any]) -> bool:
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    both = [(requests[name], limits[name]) for name in requests.keys() & limits.keys()]
    return all(quantity(low) <= quantity(high) for low, high in both if is_quantity(low) and is_quantity(high))


def _one_line(config: Mapping[str, Any]) -> bool:
    return not any("\n" in value or "\r" in value for value in config.values())


def _config(pattern: str, example: str, names: tuple[str, ...], prefixes: tuple[str, ...]) -> Entries:
    return Entries(
        Text(1024),
        most=64,
        rules=(
            Rule(
                f"a key must be a setting's name such as {example}", lambda config: all(map(matches(pattern), config))
            ),
            Rule(
                "a key names a setting that the operator makes itself; docs/reference.md lists them",
                lambda config: not any(key in names or key.startswith(prefixes) for key in config),
            ),
            Rule("a value must be one line", _one_line),
        ),
    )


_QUANTITY: Final = IntOrText(
    32,
    rules=(
        Rule(
            "must be a quantity such as 250m or 512Mi, and more than nothing",
            lambda value: is_quantity(value) and quantity(value) > 0,
        ),
    ),
)
_AMOUNTS: Final = Fields({"cpu": _QUANTITY, "memory": _QUANTITY, "ephemeral-storage": _QUANTITY})
_RESOURCES: Final = Fields(
    {"requests": _AMOUNTS, "limits": _AMOUNTS},
    rules=(Rule("a request must not exceed its limit", _requests_within_limits),),
)

_STORAGE: Final = Fields(
    {
        "size": IntOrText(
            32,
            rules=(
                Rule(
                    "must be a quantity such as 20Gi, of at least 100Mi",
                    lambda value: is_quantity(value) and quantity(value) >= quantity(LEAST_STORAGE),
                ),
            ),
        ),
        "storageClassName": Text(253, rules=(OBJECT_NAME,)),
    },
    transitions=(
        Transition(
            "storageClassName cannot change: the volumes exist already",
            lambda new, old: new.get("storageClassName") == old.get("storageClassName"),
        ),
    ),
)

_AUTOSCALING: Final = Fields(
    {
        "minReplicas": Integer(1, 50),
        "maxReplicas": Integer(1, 50),
        "targetCPUUtilizationPercentage": Integer(1, 100),
    },
    required=("maxReplicas",),
    rules=(
        Rule(
            "minReplicas must not exceed maxReplicas",
            lambda scale: scale.get("minReplicas", 1) <= scale["maxReplicas"],
        ),
    ),
)

_VARIABLE: Final = Fields(
    {
        "name": Text(
            128,
            rules=(
                Rule("must be a variable's name such as AUREN_LOG_LEVEL", matches(r"[A-Za-z_][A-Za-z0-9_]*")),
                Rule(
                    "is a variable that the operator sets itself; docs/reference.md lists them",
                    lambda name: name not in RESERVED_ENVIRONMENT,
                ),
            ),
        ),
        "value": Text(4096),
    },
    required=("name",),
)

_LABEL_VALUES: Final = Rule(
    "a value must have at most 63 letters, digits, '-', '_' and '.', and begin and end with a letter or digit",
    lambda labels: all(map(matches(LABEL_VALUE), labels.values())),
)
_SERVICE: Final = Fields(
    {
        "enabled": Boolean(),
        "replicas": Integer(1, 50),
        "autoscaling": _AUTOSCALING,
        "resources": _RESOURCES,
        "env": Items(_VARIABLE, most=64, key="name"),
        "nodeSelector": Entries(Text(63), most=16, rules=(LABEL_KEYS, _LABEL_VALUES)),
        "tolerations": Items(TOLERATION, most=32),
        "affinity": AFFINITY,
        "priorityClassName": Text(253, rules=(OBJECT_NAME,)),
        "labels": Entries(
            Text(63),
            most=32,
            rules=(
                LABEL_KEYS,
                _LABEL_VALUES,
                Rule(
                    "labels that begin with aupex.ai/ or app.kubernetes.io/ are the operator's",
                    lambda labels: not any(key.startswith(reserved.LABEL_PREFIXES) for key in labels),
                ),
            ),
        ),
        "annotations": ANNOTATIONS,
    },
    rules=(
        Rule("set replicas or autoscaling, not both", lambda service: not {"replicas", "autoscaling"} <= set(service)),
    ),
)

_NEUROS: Final = Fields({**_SERVICE.fields, **NEUROS_FIELDS}, rules=(*_SERVICE.rules, EMBEDDINGS_CAN_BE_ASKED))
_BRIDGE: Final = Fields(
    {**_SERVICE.fields, "publicURL": PUBLIC_URL, "providers": PROVIDERS}, rules=(*_SERVICE.rules, NEEDS_PUBLIC_URL)
)

_KAFKA: Final = Fields(
    {
        "replicas": Integer(
            1,
            3,
            one_of=(1, 3),
            transitions=(
                Transition(
                    "cannot change: the quorum is fixed when the stack is created",
                    lambda new, old: new == old,
                ),
            ),
        ),
        "storage": _STORAGE,
        "resources": _RESOURCES,
        "config": _config(r"[a-z][a-z0-9.]*", "log.retention.hours", reserved.KAFKA, reserved.KAFKA_PREFIXES),
    }
)
_TIMESCALEDB: Final = Fields(
    {
        "storage": _STORAGE,
        "resources": _RESOURCES,
        "maxConnections": Integer(10, 1000),
        "retentionDays": Integer(60, 3650),
        "compressAfterDays": Integer(1, 3649),
        "external": EXTERNAL,
        "config": _config(r"[a-z][a-z0-9_.]*", "work_mem", reserved.TIMESCALEDB, reserved.TIMESCALEDB_PREFIXES),
    },
    rules=(Rule("compressAfterDays must be less than retentionDays", _compressed_before_dropped),),
)
_REDIS: Final = Fields(
    {
        "storage": _STORAGE,
        "resources": _RESOURCES,
        "config": _config(r"[a-z][a-z0-9-]*", "maxmemory-policy", reserved.REDIS, reserved.REDIS_PREFIXES),
    }
)
_IMAGE: Final = Text(
    512,
    rules=(
        Rule(
            "must be an image's reference such as registry.example.com/redis:8",
            matches(r"[a-zA-Z0-9][a-zA-Z0-9._:/@-]*"),
        ),
    ),
)
_IMAGES: Final = Fields(
    {
        "registry": Text(
            253,
            rules=(
                Rule(
                    "must be a registry such as registry.example.com:5000/mirror, without https://",
                    matches(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]+)?(/[a-z0-9._-]+)*"),
                ),
            ),
        ),
        "pullPolicy": Text(one_of=("Always", "IfNotPresent", "Never")),
        "pullSecrets": Items(
            Fields({"name": Text(253, rules=(OBJECT_NAME,))}, required=("name",)), most=16, key="name"
        ),
        "overrides": Fields(dict.fromkeys(IMAGE_ENV, _IMAGE)),
    }
)

SPEC: Final = Fields(
    {
        "size": Text(one_of=tuple(defaults.BY_SIZE)),
        "paused": Boolean(),
        "hibernated": Boolean(),
        "data": Fields({"deletionPolicy": Text(one_of=("Retain", "Delete"))}),
        "images": _IMAGES,
        "auth": Fields({"issuer": Text(512, shortest=1), "audience": Text(512, shortest=1)}),
        "modes": MODES,
        "neuros": _NEUROS,
        "biometric": _SERVICE,
        "bridge": _BRIDGE,
        "kafka": _KAFKA,
        "timescaledb": _TIMESCALEDB,
        "redis": _REDIS,
        "chromadb": Fields({"storage": _STORAGE, "resources": _RESOURCES}),
        "networkPolicies": Boolean(),
    },
    rules=(
        Rule(
            "timescaledb.maxConnections is too small for the greatest number of replicas: allow 5, 2 for each pod of "
            "neuros and biometric, and 4 for each of bridge, counting one pod more of each for rolling updates",
            _pools_fit,
        ),
        Rule(NEEDS_EACH_BROKER, _terra_reaches_each_broker),
    ),
)
