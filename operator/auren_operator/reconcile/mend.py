"""Setting back an edit that server-side apply alone cannot undo: somebody changed the key of a list's item.

Apply knows items of such lists by their key (a Service's port by its number): to it, the edited item is somebody
else's, and ours, brought back beside it under the same name, is refused as a duplicate. Then our list is put in place
of the whole list first. That write is made under a manager of its own, whose entry is taken out of managedFields
again, so that in the end nothing is owned that was not owned before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from auren_operator.kube.client import JSON_PATCH, MERGE, Answer, Kube
from auren_operator.kube.kinds import CHILDREN

MANAGER: Final = "auren-mend"

LISTS_STAND_IN: Final = {"Service": "ports", "Deployment": "template", "StatefulSet": "template"}
"""Kind → the part of its spec that holds lists whose items have keys and names."""


async def put_lists_back(kube: Kube, manifest: Mapping[str, Any]) -> None:
    """Replace the lists of one object by ours; items that others added to them are lost. Raises `Refused`."""
    part = LISTS_STAND_IN[manifest["kind"]]
    body = {"spec": {part: manifest["spec"][part]}}
    await kube.patch(CHILDREN[manifest["kind"]], _place(manifest), body, MERGE, MANAGER)


async def disown(kube: Kube, manifest: Mapping[str, Any], answer: Answer) -> Answer:
    """Take our helper's entry out of the managedFields of an object as it was answered. Raises `Refused`."""
    meta = answer["metadata"]
    kept = [entry for entry in meta["managedFields"] if entry["manager"] != MANAGER]
    body = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]},
        {"op": "replace", "path": "/metadata/managedFields", "value": kept},
    ]
    return await kube.patch(CHILDREN[manifest["kind"]], _place(manifest), body, JSON_PATCH, MANAGER)


def _place(manifest: Mapping[str, Any]) -> tuple[str, str]:
    return manifest["metadata"]["namespace"], manifest["metadata"]["name"]
