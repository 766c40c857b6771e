"""The words that builders and the reconcile share: a component, its Secrets, and the facts a build may depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

type_of_workload = Literal["StatefulSet", "Deployment", "Job"]

Manifest = dict[str, Any]
"""One Kubernetes object as plain data, just as ``kubectl apply`` would take it."""

UserKind = Literal["Secret", "ConfigMap"]

Generator = Literal["password", "cluster-id", "key", "keyring", "signing-key", "jwks"]
"""How a value of a generated Secret comes into being (see `manifests.secrets.generate`)."""


@dataclass(frozen=True, slots=True)
class Component:
    """One part of a stack: what it is called, what runs it, whom it waits for.

    ``workload`` is None for what belongs to the stack as a whole. ``needs`` names components and Jobs that must be
    ready before this workload is created, and whose pending Jobs hold back an update of its template.
    """

    name: str
    workload: type_of_workload | None
    needs: tuple[str, ...] = ()
    port: int | None = None


@dataclass(frozen=True, slots=True)
class SecretSpec:
    """A Secret whose data is generated once and never again while it exists.

    ``keys`` maps each required key to its generator; a Secret that lacks one counts as missing. With
    ``guards_data`` the data of a store cannot be read without it: it is never generated anew while a volume exists,
    and it outlives the stack under ``deletionPolicy: Retain``. ``guarded_marks`` name ConfigMaps that stand for data
    which the operator cannot see, on a server of the person's own. ``at_stake`` says what cannot be read then,
    ``way_out`` what a person who has no copy of it may do.
    """

    name: str
    component: str
    keys: Mapping[str, Generator]
    guards_data: bool = False
    guarded_volumes: tuple[str, ...] = ()
    guarded_marks: tuple[str, ...] = ()
    at_stake: str = "the data"
    way_out: str = "delete the volume to start empty"


@dataclass(frozen=True, slots=True)
class UserObject:
    """A Secret or ConfigMap that a person makes and the spec names; the operator only looks whether it is there, with
    its ``keys``.

    While it is not, ``purpose`` is off and everything else of the component runs. A build depends on a Secret that
    ``is_certificate`` or ``is_login`` (a password or key that is read once, at the start), by `Facts.given`, and on
    every ConfigMap, by `Facts.texts`: the keys of others are read by whoever mounts them, as they come.
    """

    name: str
    component: str
    purpose: str
    keys: tuple[str, ...]
    is_certificate: bool = False
    is_login: bool = False
    kind: UserKind = "Secret"

    @property
    def is_built_in(self) -> bool:
        """Whether a build depends on it."""
        return self.is_certificate or self.is_login or self.kind == "ConfigMap"


@dataclass(frozen=True, slots=True)
class Volume:
    """A PersistentVolumeClaim as builders see it: identity and requested size in bytes.

    ``created_replicas`` is what its annotation ``aupex.ai/created-replicas`` says: how many replicas the StatefulSet
    was created with that first claimed it. The claim outlives the StatefulSet, and so does this number.
    """

    uid: str
    storage_bytes: int
    created_replicas: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a build may depend on besides the spec. All of it is observed, none of it secret.

    ``secrets``: name → hash of the data, for Secrets that exist and are complete. ``volumes``: claim name → Volume,
    for claims that exist and are not being deleted. ``replicas``: name of a StatefulSet that exists → its
    ``spec.replicas`` when it was created (annotation ``aupex.ai/created-replicas``). ``given``: name → hash of the
    data, of the people's Secrets on which a build depends and that will do as what the spec names them for. ``texts``:
    the same of their ConfigMaps.
    """

    secrets: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, Volume] = field(default_factory=dict)
    replicas: Mapping[str, int] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)

    def hash_of(self, secret: str) -> str | None:
        """The hash of a Secret's data, whoever made it; None while it is missing or incomplete."""
        return self.secrets.get(secret) or self.given.get(secret)


@dataclass(frozen=True, slots=True)
class Built:
    """What one component is made of, and what a person should know about how it was built.

    ``withheld`` names the kinds that the component should have but that cannot be built yet (a Secret or a volume is
    missing): the reconcile prunes none of the component's objects of these kinds in such a round. One that is
    ``external`` runs elsewhere, by a person's hand: it has no workload and counts as ready.
    """

    manifests: list[Manifest]
    notes: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    external: bool = False
