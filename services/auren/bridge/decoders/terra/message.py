"""Terra's messages around the data: whom they are about, who connects and disconnects, where a payload lies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from auren.bridge.decoders import ConnectionChange, DecodeError, Pointer, Whose, plain_body
from auren.bridge.decoders.terra.fields import UNREADABLE
from auren.bridge.decoders.values import UnreadableError, identifier, milliseconds, named
from auren.events import USER_ID_PATTERN, Delivery

PROVIDER: Final = "terra"
POINTER: Final = "s3_payload"
CONNECTING: Final = frozenset({"auth", "user_reauth", "deauth", "access_revoked"})
"""Types that say that somebody connects or disconnects."""

OPERATIONAL: Final = frozenset(
    {
        "healthcheck",
        "processing",
        "large_request_processing",
        "large_request_sending",
        "rate_limit_hit",
        "google_no_datasource",
    }
)
ACKNOWLEDGED: Final = frozenset({"auth_cancelled", "permission_change", "connection_error"})
"""Nobody connects and nobody disconnects: a provider that refuses Terra for a while (`connection_error`) may let it
in again without another `auth`."""

QUIET: Final = OPERATIONAL | ACKNOWLEDGED
"""Nothing is to be done for these, whoever they name."""

ORDERING: Final = "x-terra-ordering-timestamp"
LONGEST_EXPIRY_SECONDS: Final = 7 * 24 * 3600
"""What S3 signs at most; the vendor says 600 seconds."""

_USER_ID: Final = re.compile(USER_ID_PATTERN)
_MILLISECONDS: Final = re.compile("[0-9]{13}")
"""2001 to 2286."""

_NOTHING: Final = msgspec.Raw(b"null")


class Message(msgspec.Struct):
    """What every message may hold; what it means depends on the type, so it stays raw until then."""

    type: str
    status: msgspec.Raw = _NOTHING
    user: msgspec.Raw = _NOTHING
    old_user: msgspec.Raw = _NOTHING
    new_user: msgspec.Raw = _NOTHING
    data: msgspec.Raw = _NOTHING
    url: msgspec.Raw = _NOTHING
    expires_in: msgspec.Raw = _NOTHING


@dataclass(frozen=True, slots=True)
class User:
    """Terra's user, who is one connection of a person with one wearable's vendor. Empty where it is not said."""

    id: str = ""
    reference: str = ""
    brand: str = ""


class _User(msgspec.Struct):
    user_id: msgspec.Raw = _NOTHING
    reference_id: msgspec.Raw = _NOTHING
    provider: msgspec.Raw = _NOTHING


_message: Final = msgspec.json.Decoder(Message)
_user: Final = msgspec.json.Decoder(_User)
_text: Final = msgspec.json.Decoder(str)
_number: Final = msgspec.json.Decoder(float)


def read(delivery: Delivery) -> Message:
    """The message of a delivery. Raises DecodeError."""
    try:
        return _message.decode(plain_body(delivery))
    except UNREADABLE:
        raise DecodeError("not a message of Terra") from None


def version(delivery: Delivery) -> int:
    """Milliseconds: when Terra made the payload, equal in all its retries; without it, when the delivery came."""
    made = dict(delivery.vendor).get(ORDERING, "")
    return int(made) if _MILLISECONDS.fullmatch(made) else milliseconds(delivery.received_at)


def owner(message: Message) -> User:
    """Whose data the message holds."""
    return _user_of(message.user)


def person(message: Message) -> Whose | None:
    """Whom the message names; None when it names nobody."""
    if message.type == "user_reauth":
        return _reauthenticated(_user_of(message.old_user), _user_of(message.new_user))
    user = owner(message)
    return Whose(user.id, user.reference) if user.id or user.reference else None


def _reauthenticated(old: User, new: User) -> Whose | None:
    # The new id is nobody's yet: without a reference of ours, only the old one leads to the person.
    known, reference = old.id or new.id, new.reference or old.reference
    return Whose(known, reference) if known or reference else None


def succeeded(message: Message) -> bool:
    """Whether the message tells of a success: those that have a status of another name tell of something else."""
    return _string(message.status) in ("", "success")


def change(message: Message, user_id: str) -> Iterator[ConnectionChange]:
    """What the message says of a connection, nothing when an attempt to connect failed. Raises DecodeError."""
    if message.type == "auth" and not succeeded(message):
        return
    former = ""
    if message.type == "user_reauth":
        former, user = _user_of(message.old_user).id, _user_of(message.new_user)
    else:
        user = owner(message)
    if not user.id:
        raise DecodeError("the message names no user")
    connected = message.type in ("auth", "user_reauth")
    whose = person(message)
    ours = user_id or (whose.user_id if whose else "")
    if connected and not ours:
        raise DecodeError("nobody is known who connects")
    yield ConnectionChange(user.id, ours, connected, former if former != user.id else "")


def pointer(message: Message, received_at: datetime) -> Pointer:
    """Where the payload lies, and until when. Raises DecodeError."""
    url = _string(message.url)
    if not url:
        raise DecodeError("the pointer has no address")
    try:
        seconds = _number.decode(message.expires_in)
    except UNREADABLE:
        return Pointer(url, None)
    if not 0 <= seconds <= LONGEST_EXPIRY_SECONDS:
        return Pointer(url, None)
    return Pointer(url, received_at + timedelta(seconds=seconds))


def _user_of(raw: msgspec.Raw) -> User:
    try:
        fields = _user.decode(raw)
    except UNREADABLE:
        return User()
    reference = _string(fields.reference_id)
    return User(
        id=_identifier(_string(fields.user_id)),
        reference=reference if _USER_ID.fullmatch(reference) else "",
        brand=named(_string(fields.provider)),
    )


def _identifier(text: str) -> str:
    try:
        return identifier(text)
    except UnreadableError:
        return ""


def _string(raw: msgspec.Raw) -> str:
    try:
        return _text.decode(raw)
    except UNREADABLE:
        return ""
