"""ConfigMaps: configuration files and start scripts of the stores."""

from __future__ import annotations

from collections.abc import Mapping

from auren_operator.api import names
from auren_operator.api.spec import Stack
from auren_operator.manifests.meta import child_name, digest, manifest
from auren_operator.manifests.model import Component, Manifest


def config_map(stack: Stack, component: Component, files: Mapping[str, str]) -> Manifest:
    """The component's files: name → text."""
    return manifest(stack, component, "ConfigMap", {"data": dict(files)})


def config_volume(stack: Stack, component: Component) -> dict[str, object]:
    """The volume ``config`` that holds the component's ConfigMap."""
    return {"name": "config", "configMap": {"name": child_name(stack, component)}}


def text_volume(name: str, config_map: str, key: str, file: str) -> dict[str, object]:
    """A volume with one key of a person's ConfigMap as ``file``; empty while there is none, so that pods start."""
    items = [{"key": key, "path": file}]
    return {"name": name, "configMap": {"name": config_map, "optional": True, "items": items}}


def config_annotation(config: Manifest) -> dict[str, str]:
    """The pod annotation by which a changed file rolls the pods."""
    return {names.ANNOTATION_CONFIG_HASH: digest(config["data"])}
