"""Where pods may run: tolerations and affinity, as in a pod's spec of Kubernetes 1.33."""

from __future__ import annotations

from typing import Final

from auren_operator.api.schema import Entries, Fields, Integer, Items, Rule, Text

TOLERATION: Final = Fields(
    {
        "key": Text(317),
        "operator": Text(one_of=("Exists", "Equal")),
        "value": Text(63),
        "effect": Text(one_of=("NoSchedule", "PreferNoSchedule", "NoExecute")),
        "tolerationSeconds": Integer(-(2**63), 2**63 - 1),
    },
    rules=(
        Rule(
            "value must be left out when operator is Exists",
            lambda toleration: toleration.get("operator") != "Exists" or not toleration.get("value"),
        ),
        Rule(
            "operator must be Exists when key is left out",
            lambda toleration: bool(toleration.get("key")) or toleration.get("operator") == "Exists",
        ),
        Rule(
            "tolerationSeconds needs effect NoExecute",
            lambda toleration: "tolerationSeconds" not in toleration or toleration.get("effect") == "NoExecute",
        ),
    ),
)

_KEY: Final = Text(317)
_VALUES: Final = Items(Text(63), most=64)
_NAMES: Final = Items(Text(253), most=64)
_WEIGHT: Final = Integer(1, 100)


def _requirements(*operators: str) -> Items:
    requirement = Fields(
        {"key": _KEY, "operator": Text(one_of=operators), "values": _VALUES}, required=("key", "operator")
    )
    return Items(requirement, most=32)


_NODE_TERM: Final = Fields(
    {
        "matchExpressions": _requirements("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"),
        "matchFields": _requirements("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"),
    }
)
_NODE_AFFINITY: Final = Fields(
    {
        "requiredDuringSchedulingIgnoredDuringExecution": Fields(
            {"nodeSelectorTerms": Items(_NODE_TERM, most=32)}, required=("nodeSelectorTerms",)
        ),
        "preferredDuringSchedulingIgnoredDuringExecution": Items(
            Fields({"weight": _WEIGHT, "preference": _NODE_TERM}, required=("weight", "preference")), most=32
        ),
    }
)
_SELECTOR: Final = Fields(
    {
        "matchLabels": Entries(Text(63), most=32),
        "matchExpressions": _requirements("In", "NotIn", "Exists", "DoesNotExist"),
    }
)
_POD_TERM: Final = Fields(
    {
        "topologyKey": _KEY,
        "labelSelector": _SELECTOR,
        "namespaces": _NAMES,
        "namespaceSelector": _SELECTOR,
        "matchLabelKeys": _NAMES,
        "mismatchLabelKeys": _NAMES,
    },
    required=("topologyKey",),
)
_POD_AFFINITY: Final = Fields(
    {
        "requiredDuringSchedulingIgnoredDuringExecution": Items(_POD_TERM, most=32),
        "preferredDuringSchedulingIgnoredDuringExecution": Items(
            Fields({"weight": _WEIGHT, "podAffinityTerm": _POD_TERM}, required=("weight", "podAffinityTerm")), most=32
        ),
    }
)
AFFINITY: Final = Fields(
    {"nodeAffinity": _NODE_AFFINITY, "podAffinity": _POD_AFFINITY, "podAntiAffinity": _POD_AFFINITY}
)
