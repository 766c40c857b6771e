"""The stack as a whole: the key pair that signs its tokens, and a wall around all its pods."""

from __future__ import annotations

from collections.abc import Mapping

from auren_operator.api import names
from auren_operator.api.spec import Stack
from auren_operator.manifests.model import Built, Component, Facts, Generator, SecretSpec
from auren_operator.manifests.network import default_deny
from auren_operator.manifests.wiring import Wiring

COMPONENT = Component(name="stack", workload=None)

PRIVATE_KEY = "private.pem"
PUBLIC_KEYS = "jwks.json"
LOG_KEY = "log-key"


def auth_secret(stack: Stack) -> str:
    """Name of the Secret with the stack's keys."""
    return f"{stack.name}-auth"


def secrets(stack: Stack) -> list[SecretSpec]:
    """The signing key with its public half, and the key by which logs hash people's ids."""
    keys: Mapping[str, Generator] = {PRIVATE_KEY: "signing-key", PUBLIC_KEYS: "jwks", LOG_KEY: "key"}
    return [SecretSpec(auth_secret(stack), COMPONENT.name, keys)]


def build(stack: Stack, facts: Facts) -> Built:
    """A NetworkPolicy that lets nothing in; the components' own policies open what each needs."""
    return Built(default_deny(stack, COMPONENT))


def member(stack: Stack) -> Wiring:
    """What every service is told about its stack. The private half of the key pair goes to no pod."""
    env = {
        names.ENV_STACK: stack.name,
        names.ENV_AUTH_ISSUER: stack.auth_issuer,
        names.ENV_AUTH_AUDIENCE: stack.auth_audience,
    }
    auth = auth_secret(stack)
    return Wiring(env, {"auren_auth_jwks": (auth, PUBLIC_KEYS), "auren_log_key": (auth, LOG_KEY)})


def modes(stack: Stack) -> Wiring:
    """Thresholds of the modes that are set otherwise, for those who decide by them."""
    return Wiring({names.ENV_MODES: stack.modes})
