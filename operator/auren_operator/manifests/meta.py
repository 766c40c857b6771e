"""Names, labels and owners: what every child of a stack carries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from auren_operator.api import names
from auren_operator.api.spec import Stack
from auren_operator.manifests.model import Component, Manifest

HASH_LENGTH: Final = 10
"""Hex digits of a hash in a name or an annotation: 40 bits, for values that only need to differ from the last one."""


def child_name(stack: Stack, component: Component, suffix: str = "") -> str:
    """``<stack>-<component>``, or ``<stack>-<component>-<suffix>``; at most 63 characters for any legal stack."""
    return "-".join(part for part in (stack.name, component.name, suffix) if part)


def host(stack: Stack, component: Component) -> str:
    """DNS name of the component's Service, resolvable from any pod of the cluster."""
    return f"{child_name(stack, component)}.{stack.namespace}.svc"


def selector(stack: Stack, component: Component) -> dict[str, str]:
    """The two labels that select a component's pods; immutable in workloads, so they never grow."""
    return {names.LABEL_STACK: stack.name, names.LABEL_COMPONENT: component.name}


def labels(stack: Stack, component: Component) -> dict[str, str]:
    """The labels of every child, pod and claim. They hold no version: claims' labels can never change."""
    return {
        **selector(stack, component),
        names.LABEL_INSTANCE: stack.name,
        names.LABEL_NAME: "auren",
        names.LABEL_PART_OF: "auren",
        names.LABEL_MANAGED_BY: names.FIELD_MANAGER,
    }


def owner_reference(stack: Stack) -> dict[str, Any]:
    """The stack as the owner; it never blocks its deletion, the garbage collector does the rest."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": stack.name,
        "uid": stack.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def manifest(
    stack: Stack,
    component: Component,
    kind: str,
    body: Mapping[str, Any],
    *,
    api_version: str = "v1",
    name: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """A child of the stack: ``body`` (``spec``, ``data`` …) with name, labels and owner around it."""
    metadata: dict[str, Any] = {
        "name": name or child_name(stack, component),
        "namespace": stack.namespace,
        "labels": labels(stack, component),
        "ownerReferences": [owner_reference(stack)],
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}


def digest(value: Any) -> str:
    """Short hash of any plain data; equal data gives equal hashes, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]
