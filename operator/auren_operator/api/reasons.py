"""Every reason that a condition, a component or an Event may carry, with the sentence that explains it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """A CamelCase word for programs; `SENTENCES` has the sentence for people."""

    # The stack as a whole
    ALL_READY = "AllReady"
    COMPONENTS_NOT_READY = "ComponentsNotReady"
    COMPONENT_FAILED = "ComponentFailed"
    STORE_NOT_READY = "StoreNotReady"
    NOT_DEGRADED = "NotDegraded"
    INSTALLING = "Installing"
    UPDATING = "Updating"
    RESUMING = "Resuming"
    UP_TO_DATE = "UpToDate"
    SPEC_VALID = "SpecValid"
    SPEC_INVALID = "SpecInvalid"
    PAUSED = "Paused"
    NOT_PAUSED = "NotPaused"
    HIBERNATING = "Hibernating"
    HIBERNATED = "Hibernated"
    # A component
    RUNNING = "Running"
    DISABLED = "Disabled"
    EXTERNAL = "External"
    STARTING = "Starting"
    ROLLING_OUT = "RollingOut"
    WAITING_FOR_COMPONENTS = "WaitingForComponents"
    WAITING_FOR_SECRETS = "WaitingForSecrets"
    WAITING_FOR_CONFIG_MAPS = "WaitingForConfigMaps"
    PODS_NOT_READY = "PodsNotReady"
    CANNOT_PULL_IMAGE = "CannotPullImage"
    CRASH_LOOP = "CrashLoop"
    OUT_OF_MEMORY = "OutOfMemory"
    UNSCHEDULABLE = "Unschedulable"
    CONTAINER_CONFIG_ERROR = "ContainerConfigError"
    POD_CREATION_FAILED = "PodCreationFailed"
    JOB_FAILED = "JobFailed"
    APPLY_FAILED = "ApplyFailed"
    QUOTA_EXCEEDED = "QuotaExceeded"
    FORBIDDEN = "Forbidden"
    KIND_MISSING = "KindMissing"
    NAME_CONFLICT = "NameConflict"
    KEYS_LOST = "KeysLost"
    VOLUME_LOST = "VolumeLost"
    VOLUME_PENDING = "VolumePending"
    BUILD_FAILED = "BuildFailed"
    # Events
    CREATED = "Created"
    HEALED = "Healed"
    REVERTED = "Reverted"
    WAITING = "Waiting"
    READY = "Ready"
    DEGRADED = "Degraded"


SENTENCES: Final[Mapping[Reason, str]] = {
    Reason.ALL_READY: "Every enabled component is ready.",
    Reason.COMPONENTS_NOT_READY: "Some components are still starting or waiting; the message names them.",
    Reason.COMPONENT_FAILED: "A component cannot become ready without help; the message names it and why.",
    Reason.STORE_NOT_READY: "A store that was ready is not any more; the services answer 503 where they need it.",
    Reason.NOT_DEGRADED: "Nothing that was ready has been lost.",
    Reason.INSTALLING: "The stack comes up for the first time.",
    Reason.RESUMING: "The stack wakes up from hibernation, stores before services.",
    Reason.UPDATING: "A change is being rolled out, one component at a time.",
    Reason.UP_TO_DATE: "Everything that the spec asks for is in place.",
    Reason.SPEC_VALID: "The spec passes every rule.",
    Reason.SPEC_INVALID: "The spec breaks the rules that the message lists; nothing is touched until it is mended.",
    Reason.PAUSED: "`spec.paused` is set: the operator looks, but changes nothing.",
    Reason.NOT_PAUSED: "The operator keeps the stack as the spec says.",
    Reason.HIBERNATING: "The components are being scaled to zero, services before stores.",
    Reason.HIBERNATED: "Everything is scaled to zero; the data is kept.",
    Reason.RUNNING: "As many pods as wanted are ready.",
    Reason.DISABLED: "The spec switches this component off.",
    Reason.EXTERNAL: "A server of yours is used, and the Job has prepared it; the operator runs none.",
    Reason.STARTING: "The pods were created and have not been ready yet.",
    Reason.ROLLING_OUT: "Pods of a new revision replace those of the old one.",
    Reason.WAITING_FOR_COMPONENTS: "It is created once what it needs is ready; `waitingFor` lists it.",
    Reason.WAITING_FOR_SECRETS: "The pods run; what needs a Secret of yours that is missing or lacks a key is off; "
    "`waitingFor` lists it.",
    Reason.WAITING_FOR_CONFIG_MAPS: "The pods run; what a ConfigMap of yours would replace, which is missing or lacks "
    "a key, is as built in; `waitingFor` lists it.",
    Reason.PODS_NOT_READY: "Pods that were ready are not any more.",
    Reason.CANNOT_PULL_IMAGE: "A node cannot pull the image.",
    Reason.CRASH_LOOP: "A container ends again and again.",
    Reason.OUT_OF_MEMORY: "A container was killed at its memory limit.",
    Reason.UNSCHEDULABLE: "No node takes the pod: resources, selectors, taints or volumes do not fit.",
    Reason.CONTAINER_CONFIG_ERROR: "The container cannot start because something that it mounts or reads is missing.",
    Reason.POD_CREATION_FAILED: "Kubernetes refuses to create the pods: a quota, a policy or an admission webhook.",
    Reason.JOB_FAILED: "The Job that prepares a store failed; it is made again, later each time.",
    Reason.APPLY_FAILED: "The API server refused an object; it is tried again, later each time.",
    Reason.QUOTA_EXCEEDED: "A quota of the namespace refuses an object.",
    Reason.FORBIDDEN: "The operator is not allowed to write an object, or an admission webhook refuses it.",
    Reason.KIND_MISSING: "The cluster does not know the kind of an object that the component needs.",
    Reason.NAME_CONFLICT: "An object of that name exists and belongs to somebody else; it is left alone.",
    Reason.KEYS_LOST: "A Secret without which existing data cannot be read is gone; its row says what to do.",
    Reason.VOLUME_LOST: "A volume was deleted or replaced under the store: what it held is gone.",
    Reason.VOLUME_PENDING: "A volume is not bound yet.",
    Reason.BUILD_FAILED: "The operator could not work out the component's objects; this is a bug, please report it.",
    Reason.CREATED: "A child was created for the first time.",
    Reason.HEALED: "A child had been deleted and was created again.",
    Reason.REVERTED: "Fields of a child had been edited and were set back.",
    Reason.WAITING: "A component began to wait for others, or for a Secret or ConfigMap of yours.",
    Reason.READY: "The stack became ready.",
    Reason.DEGRADED: "The stack lost something that was ready.",
}
