"""The token box: what it gives back, what it refuses, and that what was stored once opens for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auren.bridge.tokens import DamagedError, KeyringError, TokenBox, Tokens, UnknownKeyError

FIRST, SECOND = "2026-a:" + "1f" * 32, "2026-b:" + "2e" * 32
PLACE = ("whoop", "anna", "access")

STORED = "01 06 32 30 32 36 2d 61"
"""Version 1, six bytes of key id, `2026-a`."""

BY_NODE = "0106323032362d61000102030405060708090a0b30881d190bf1107feccd2e7ed6439175e4bcd4d347f5a7988ed4fc314aea68"
"""`an access token` at PLACE, made with Node's crypto from the module's description; nonce 00 to 0b."""

texts = st.text(st.characters(exclude_categories=["Cs"]))


def test_the_format_is_the_documented_one() -> None:
    assert TokenBox(FIRST).decrypt(bytes.fromhex(BY_NODE), *PLACE) == "an access token"


@given(text=texts, provider=texts, user_id=texts, field=texts)
def test_what_goes_in_comes_out(text: str, provider: str, user_id: str, field: str) -> None:
    box = TokenBox(FIRST)
    ciphertext = box.encrypt(text, provider, user_id, field)
    assert box.decrypt(ciphertext, provider, user_id, field) == text
    assert len(ciphertext) == len(bytes.fromhex(STORED)) + 12 + len(text.encode()) + 16


def test_the_header_names_the_key_and_the_text_is_nowhere() -> None:
    ciphertext = TokenBox(FIRST).encrypt("secret", *PLACE)
    assert ciphertext.startswith(bytes.fromhex(STORED))
    assert b"secret" not in ciphertext
    assert TokenBox(FIRST).encrypt("secret", *PLACE) != ciphertext


def test_every_flipped_bit_is_noticed() -> None:
    box = TokenBox(f"{FIRST}\n{SECOND}")
    ciphertext = box.encrypt("secret", *PLACE)
    for place in range(8 * len(ciphertext)):
        changed = bytearray(ciphertext)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises((DamagedError, UnknownKeyError)):
            box.decrypt(bytes(changed), *PLACE)


def test_another_keys_id_does_not_pass() -> None:
    box = TokenBox(f"{FIRST}\n{SECOND}")
    ciphertext = box.encrypt("secret", *PLACE)
    with pytest.raises(DamagedError):
        box.decrypt(ciphertext.replace(b"2026-a", b"2026-b"), *PLACE)


def test_every_shorter_or_longer_one_is_noticed() -> None:
    box = TokenBox(FIRST)
    ciphertext = box.encrypt("secret", *PLACE)
    for length in range(len(ciphertext)):
        with pytest.raises(DamagedError):
            box.decrypt(ciphertext[:length], *PLACE)
    with pytest.raises(DamagedError):
        box.decrypt(ciphertext + b"\0", *PLACE)


@given(st.binary(max_size=80))
def test_noise_is_never_a_text(noise: bytes) -> None:
    with pytest.raises((DamagedError, UnknownKeyError)):
        TokenBox(FIRST).decrypt(noise, *PLACE)


@pytest.mark.parametrize(
    "place",
    [
        ("oura", "anna", "access"),
        ("whoop", "ben", "access"),
        ("whoop", "anna", "refresh"),
        ("whoopanna", "", "access"),
        ("whoop", "annaaccess", ""),
    ],
)
def test_it_opens_only_where_it_belongs(place: tuple[str, str, str]) -> None:
    box = TokenBox(FIRST)
    with pytest.raises(DamagedError):
        box.decrypt(box.encrypt("secret", *PLACE), *place)


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    old = TokenBox(FIRST).encrypt("secret", *PLACE)
    box = TokenBox(f"{SECOND}\n\n{FIRST}\n")
    assert box.decrypt(old, *PLACE) == "secret"
    assert not box.is_current(old)
    new = box.encrypt("secret", *PLACE)
    assert box.is_current(new)
    assert TokenBox(SECOND).decrypt(new, *PLACE) == "secret"
    with pytest.raises(UnknownKeyError):
        TokenBox(SECOND).decrypt(old, *PLACE)


def test_a_key_id_that_begins_like_another_is_another() -> None:
    long, short = "k10:" + "aa" * 32, "k1:" + "bb" * 32
    assert not TokenBox(f"{short}\n{long}").is_current(TokenBox(long).encrypt("secret", *PLACE))
    assert not TokenBox(f"{long}\n{short}").is_current(TokenBox(short).encrypt("secret", *PLACE))


@pytest.mark.parametrize(
    ("keyring", "message"),
    [
        ("", "no key"),
        ("\n \n", "no key"),
        ("a:" + "0" * 63, "line 1"),
        ("a:" + "0" * 66, "line 1"),
        ("a:" + "g" * 64, "line 1"),
        (":" + "0" * 64, "line 1"),
        ("0" * 64, "line 1"),
        ("a b:" + "0" * 64, "line 1"),
        ("k" * 33 + ":" + "0" * 64, "line 1"),
        (FIRST + "\nsecond", "line 2"),
        (FIRST + "\n" + FIRST, "line 2 has the id of an earlier line"),
    ],
)
def test_a_wrong_keyring_is_refused_without_showing_it(keyring: str, message: str) -> None:
    with pytest.raises(KeyringError, match=message) as raised:
        TokenBox(keyring)
    assert "1f1f" not in str(raised.value)
    assert "gg" not in str(raised.value)


def test_errors_and_representations_show_nothing() -> None:
    tokens = Tokens("the-access", "the-refresh", None, ("offline",), refreshed_at=None)  # type: ignore[arg-type]
    assert "the-" not in repr(tokens)
    box = TokenBox(FIRST)
    with pytest.raises(DamagedError) as raised:
        box.decrypt(box.encrypt("the-access", *PLACE), "whoop", "ben", "access")
    assert "anna" not in str(raised.value)
    assert "ben" not in str(raised.value)
    assert "1f1f" not in repr(box) + str(vars(box))
