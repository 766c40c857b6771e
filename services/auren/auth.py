"""Who calls: bearer tokens (JWT, ES256) checked against the stack's JWKS, scopes, and the rule about paths.

Mint a token:  python -m auren.auth mint --key private.pem --issuer I --audience A --sub USER --scope "push:healthkit"
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import re
import sys
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import ECAlgorithm

from auren.background import Background
from auren.events import USER_ID_PATTERN
from auren.health import UnhealthyError
from auren.link import UnavailableError
from auren.settings import ServiceSettings
from auren.telemetry import logger

ALGORITHM: Final = "ES256"
LEEWAY_SECONDS: Final = 30
DEFAULT_TTL_SECONDS: Final = 24 * 3600
REVOCATION_REFRESH_SECONDS: Final = 5.0
REVOCATION_TIMEOUT_SECONDS: Final = 10.0
REVOCATIONS_OLD_SECONDS: Final = 60.0
"""A list that was read longer ago than this is told as old, whatever keeps it so."""

CACHED_TOKENS: Final = 10_000
"""Verified tokens that are remembered: a signature takes 100 µs, and a phone sends the same token each time."""

SCOPE_PUSH_HEALTHKIT: Final = "push:healthkit"
SCOPE_READ_BIOMETRICS: Final = "read:biometrics"
SCOPE_CHAT_NEUROS: Final = "chat:neuros"
SCOPE_CONNECT_PROVIDERS: Final = "connect:providers"
SCOPE_ALL_USERS: Final = "users:all"
SCOPE_ERASE: Final = "erase"
"""To erase somebody else than oneself."""
"""May name another user in a path: for operators of the platform."""

_USER_ID = re.compile(USER_ID_PATTERN)
_log = logger(__name__)


class UnauthorizedError(Exception):
    """No valid token: 401. The message is for the caller and holds nothing of the token."""


class ForbiddenError(Exception):
    """A valid token that does not allow this: 403."""


class TooManyError(Exception):
    """A valid token that is shown too often: 429."""

    def __init__(self, retry_after_seconds: int) -> None:
        """When to come back, at least a second."""
        super().__init__("too many requests")
        self.retry_after_seconds = retry_after_seconds


class NotConfiguredError(Exception):
    """No key to verify with: 503, for nobody can be let in."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a token speaks for."""

    user_id: str
    scopes: frozenset[str]
    token_id: str
    expires_at: float

    def require(self, scope: str) -> None:
        """Raises ForbiddenError without the scope."""
        if scope not in self.scopes:
            raise ForbiddenError(f"the token lacks the scope {scope}")

    def require_user(self, user_id: str) -> None:
        """The rule about paths: only the own user, unless the scope says so. Raises ForbiddenError."""
        if user_id != self.user_id and SCOPE_ALL_USERS not in self.scopes:
            raise ForbiddenError("the token speaks for another user")


class Revocations:
    """Revoked token ids (`jti`), held in memory and read again every few seconds.

    Before the first answer nothing is known, so nothing is let in; later, while the database is away, the last known
    list stands and the health report says that it is old.
    """

    def __init__(self, load: Callable[[], Awaitable[frozenset[str]]]) -> None:
        """`load` returns the ids of revoked tokens that have not expired, or raises UnavailableError."""
        self._load = load
        self._revoked: frozenset[str] | None = None
        self._reason: str | None = "revoked tokens not read yet"
        self._read_at = float("-inf")
        self._task = Background("revocations", self._keep)

    async def start(self) -> None:
        """Begin to read in the background."""
        self._task.start()

    async def stop(self) -> None:
        """Stop reading."""
        await self._task.stop()

    def __contains__(self, token_id: str) -> bool:
        if self._revoked is None:
            raise UnavailableError("revoked-tokens", self._reason or "not read yet")
        return token_id in self._revoked

    async def refresh(self) -> None:
        """Read once; failure of any kind is kept for the health report."""
        try:
            async with asyncio.timeout(REVOCATION_TIMEOUT_SECONDS):
                self._revoked = await self._load()
        except UnavailableError as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - reading must go on, and the report says why it fails
            if self._failed(type(error).__name__):
                _log.exception("the list of revoked tokens cannot be read")
        else:
            self._reason = None
            self._read_at = time.monotonic()

    async def check(self) -> None:
        """For the health report: raises UnhealthyError while the list is old, not known or not read any more."""
        if self._reason is not None:
            raise UnhealthyError(self._reason)
        if not self._task.running:
            raise UnhealthyError("the list of revoked tokens is not read any more")
        age = time.monotonic() - self._read_at
        if age > REVOCATIONS_OLD_SECONDS:
            raise UnhealthyError(f"the list of revoked tokens is {age:.0f} s old")

    def _failed(self, why: str) -> bool:
        """Keep the reason; whether it is a new one."""
        before, self._reason = self._reason, f"the list of revoked tokens cannot be read ({why})"
        return before != self._reason

    async def _keep(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(REVOCATION_REFRESH_SECONDS if self._revoked is not None else 0.5)


class Limits(Protocol):
    """How often one `sub` may ask; rate_limits.RateLimits."""

    async def spend(self, subject: str) -> None: ...


class Verifier:
    """Turns an Authorization header into a Principal."""

    def __init__(self, settings: ServiceSettings, revocations: Revocations, limits: Limits | None = None) -> None:
        """Without a JWKS every call raises NotConfiguredError; without `limits` nobody asks too often.

        Raises ValueError for a bad JWKS.
        """
        self._issuer = settings.auth_issuer
        self._audience = settings.auth_audience
        self._keys = public_keys(settings.auth_jwks.get_secret_value()) if settings.auth_jwks else {}
        self._revocations = revocations
        self._limits = limits
        self._verified: OrderedDict[bytes, Principal] = OrderedDict()

    async def check(self) -> None:
        """For the health report: raises UnhealthyError without a key to verify with."""
        if not self._keys:
            raise UnhealthyError("no JWKS: file auren_auth_jwks is missing or holds no ES256 key")

    async def caller(self, authorization: str | None) -> Principal:
        """As `principal`, and counted: also raises TooManyError."""
        principal = self.principal(authorization)
        if self._limits is not None:
            await self._limits.spend(principal.user_id)
        return principal

    def principal(self, authorization: str | None) -> Principal:
        """Who calls. Raises NotConfiguredError, UnauthorizedError; UnavailableError while revocations are not known."""
        if not self._keys:
            raise NotConfiguredError("no key to verify tokens with is configured")
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise UnauthorizedError("a bearer token is needed")
        principal = self._remembered(token) or self._verify(token)
        if principal.token_id in self._revocations:
            raise UnauthorizedError("the token is revoked")
        return principal

    def _remembered(self, token: str) -> Principal | None:
        digest = hashlib.sha256(token.encode()).digest()
        principal = self._verified.get(digest)
        if principal is None:
            return None
        if principal.expires_at + LEEWAY_SECONDS <= time.time():
            del self._verified[digest]
            raise UnauthorizedError("the token has expired")
        self._verified.move_to_end(digest)
        return principal

    def _verify(self, token: str) -> Principal:
        principal = _principal(self._claims(token))
        self._verified[hashlib.sha256(token.encode()).digest()] = principal
        if len(self._verified) > CACHED_TOKENS:
            self._verified.popitem(last=False)
        return principal

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            # A token without a key id is tried against the only key; with several, it must say which one it means.
            key = self._keys.get(key_id) if key_id else next(iter(self._keys.values()), None)
            if key is None or (not key_id and len(self._keys) > 1):
                raise UnauthorizedError("the token is signed by an unknown key")
            return jwt.decode(
                token,
                key=key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "sub", "iss", "aud", "jti"]},
            )
        except jwt.ExpiredSignatureError:
            raise UnauthorizedError("the token has expired") from None
        except jwt.InvalidTokenError:
            raise UnauthorizedError("the token is not valid") from None


def _principal(claims: dict[str, Any]) -> Principal:
    subject, token_id, scope = claims["sub"], claims["jti"], claims.get("scope", "")
    if not isinstance(token_id, str) or not isinstance(scope, str) or not _USER_ID.fullmatch(str(subject)):
        raise UnauthorizedError("the token's claims are not valid")
    return Principal(str(subject), frozenset(scope.split()), token_id, float(claims["exp"]))


def public_keys(jwks: str) -> dict[str, ec.EllipticCurvePublicKey]:
    """The ES256 keys of a JWKS by key id. Raises ValueError for text that is no JWKS."""
    try:
        keys = json.loads(jwks)["keys"]
        loaded = {}
        for key in keys:
            public = ECAlgorithm(ECAlgorithm.SHA256).from_jwk(key) if key.get("crv") == "P-256" else None
            if isinstance(public, ec.EllipticCurvePublicKey):
                loaded[str(key.get("kid") or thumbprint(public))] = public
    except (KeyError, TypeError, AttributeError, ValueError, jwt.InvalidKeyError) as error:
        raise ValueError("holds no JWKS") from error
    return loaded


def _jwk(public: ec.EllipticCurvePublicKey) -> dict[str, str]:
    numbers = public.public_numbers()
    x, y = (base64.urlsafe_b64encode(n.to_bytes(32, "big")).rstrip(b"=").decode() for n in (numbers.x, numbers.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def thumbprint(public: ec.EllipticCurvePublicKey) -> str:
    """The key id: RFC 7638 thumbprint (SHA-256 over the required members in order, base64url)."""
    canonical = json.dumps(_jwk(public), separators=(",", ":"), sort_keys=True)
    return base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()


def jwks(public: ec.EllipticCurvePublicKey) -> dict[str, Any]:
    """The JWKS that holds one public key."""
    return {"keys": [{**_jwk(public), "kid": thumbprint(public), "use": "sig", "alg": ALGORITHM}]}


def mint(
    private_pem: bytes, *, issuer: str, audience: str, subject: str, scope: str, ttl_seconds: int = DEFAULT_TTL_SECONDS
) -> str:
    """A signed token. Raises ValueError for a key that is not P-256 or a subject that is no user id."""
    key = load_pem_private_key(private_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise ValueError("the key is no P-256 private key")
    if not _USER_ID.fullmatch(subject):
        raise ValueError(f"the subject must match {USER_ID_PATTERN}")
    now = int(time.time())
    claims = {
        "iss": issuer,
        "aud": audience,
        "sub": subject,
        "scope": scope,
        "iat": now,
        "exp": now + ttl_seconds,
        "jti": str(uuid.uuid4()),
    }
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": thumbprint(key.public_key())})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: prints one token."""
    parser = argparse.ArgumentParser(prog="python -m auren.auth", description="Mint tokens for the AUREN services.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("mint", help="print a signed token")
    command.add_argument("--key", type=Path, required=True, help="file with the stack's private key (PEM)")
    command.add_argument("--issuer", required=True)
    command.add_argument("--audience", required=True)
    command.add_argument("--sub", required=True, help="the user that the token speaks for")
    command.add_argument("--scope", default="", help="scopes, separated by blanks")
    command.add_argument("--ttl", type=int, default=DEFAULT_TTL_SECONDS, help="lifetime in seconds")
    options = parser.parse_args(arguments)
    try:
        token = mint(
            options.key.read_bytes(),
            issuer=options.issuer,
            audience=options.audience,
            subject=options.sub,
            scope=options.scope,
            ttl_seconds=options.ttl,
        )
    except (OSError, ValueError) as error:
        print(f"mint: {error}", file=sys.stderr)
        return 1
    print(token)
    return 0


if __name__ == "__main__":
    sys.exit(main())
