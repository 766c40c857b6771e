"""The golden files: what each component is made of at each size, as YAML to read.

`golden/demo/` shows every manifest; the other sizes show those that differ from demo's. The labels and owner that all
manifests carry are left out: `test_builders.py` holds them for every one. After a wanted change run
`python -m tests.unit.operator.golden`, and read the difference before committing it.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Final

import yaml

from auren_operator.components import MODULES
from auren_operator.manifests.meta import labels
from auren_operator.manifests.model import Manifest
from tests.unit.operator.built import ALL, SIZES, a_stack, build

FOLDER: Final = Path(__file__).parent / "golden"
SMALLEST: Final = "demo"
WHERE_IT_RUNS: Final = {"local-model": {"neuros": {"llm": {"mode": "local"}}}}
"""What the spec of a component says that an empty one switches off."""


class _Readable(yaml.SafeDumper):
    """YAML with line breaks kept and nothing abbreviated."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _text)


def path(component: str, size: str) -> Path:
    """The golden file of a component at a size."""
    return FOLDER / size / f"{component}.yaml"


def rendered(component: str, size: str) -> str:
    """What the file of a component at a size should hold; empty where a size adds nothing to demo."""
    manifests = _manifests(component, size)
    if size != SMALLEST:
        known = _manifests(component, SMALLEST)
        manifests = [manifest for manifest in manifests if manifest not in known]
    return yaml.dump_all(manifests, Dumper=_Readable, sort_keys=False, width=120) if manifests else ""


def _manifests(component: str, size: str) -> list[Manifest]:
    stack = a_stack({"size": size, **WHERE_IT_RUNS.get(component, {})})
    common = labels(stack, next(module.COMPONENT for module in MODULES if module.COMPONENT.name == component))
    return [_without_common(manifest, common) for manifest in build(stack, component).manifests]


def _without_common(manifest: Manifest, common: dict[str, str]) -> Manifest:
    short = deepcopy(manifest)
    for key in ("namespace", "labels", "ownerReferences"):
        del short["metadata"][key]
    spec = short.get("spec", {})
    for part in (spec.get("template"), *spec.get("volumeClaimTemplates", ())):
        if part and part["metadata"]["labels"] == common:
            del part["metadata"]["labels"]
    return short


def _write() -> None:
    for size in SIZES:
        for component in ALL:
            file, text = path(component, size), rendered(component, size)
            file.parent.mkdir(parents=True, exist_ok=True)
            if text:
                file.write_text(text)
            else:
                file.unlink(missing_ok=True)


if __name__ == "__main__":
    _write()
