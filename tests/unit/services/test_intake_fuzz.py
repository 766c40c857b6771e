"""Raw requests at the webhooks: each has an answer that is no defect, and no body inflates beyond its bounds."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from auren import events
from auren.bodies import inflated_size
from auren.bridge.decoders import DecodeError, plain_body
from auren.bridge.simulated_vendors import SIGNATURES
from auren.http import ProblemError
from auren.topics import MAX_BODY_BYTES
from tests.unit.services.front import SECRET, Log, front, webhooks
from tests.unit.services.http_fuzz import SHORTEST
from tests.unit.services.vendor_documents import RECEIVED

SERVED: Final = webhooks(SECRET)
LOG: Final = Log()
FRONT: Final = front(LOG, SERVED)

NAMES: Final = sorted(
    {
        *(name.decode() for webhook in SERVED for name in webhook.vendor_headers),
        *(name.lower() for webhook in SERVED for name in SIGNATURES[webhook.provider](SECRET, b"", 0)),
        "api-key",
        "content-type",
        "content-encoding",
        "content-length",
        "traceparent",
        "host",
    }
)
WORDS: Final = (
    b"",
    b" ",
    b"application/json",
    b"APPLICATION/JSON ; charset=\xff",
    b"application/json, text/html",
    b"gzip",
    b"GZIP ",
    b"gzip, gzip",
    b"bearer ",
    b"Bearer a.b.c",
    b"Bearer eyJhbGciOiJub25lIn0.e30.",
    b"Bearer " + b"e30." * 3000,
    b"t=1,v1=2",
    b"t=,v1=,t=1760000000,v1",
    b"v1=" + b",v1=" * 5000,
    b"t==1;v1==2",
    b"1760000000",
    b"-1760000000",
    b"1e9",
    b"\xb2\xb3",
    b"9" * 17,
    b"9" * 400,
    b"-1",
    b"0x10",
    b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",
    b"\x00",
    b"\xff" * 300,
)
HEADERS: Final = st.lists(
    st.tuples(st.sampled_from([name.encode() for name in NAMES]), st.sampled_from(WORDS) | st.binary(max_size=40)),
    max_size=8,
)
PATHS: Final = st.sampled_from([webhook.path for webhook in SERVED])


async def asked(method: str, path: str, headers: Any, chunks: list[bytes], query: bytes = b"") -> tuple[int, Any]:
    """Status and JSON of the answer to a raw request."""
    waiting, answer = list(chunks), list[Message]()
    scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": headers}

    async def receive() -> Message:
        return {"type": "http.request", "body": waiting.pop(0) if waiting else b"", "more_body": bool(waiting)}

    async def send(message: Message) -> None:
        answer.append(message)

    await FRONT(scope, receive, send)
    return answer[0]["status"], json.loads(answer[1]["body"])


@given(PATHS, HEADERS, st.lists(st.binary(max_size=20), max_size=4), st.booleans())
async def test_any_headers_have_an_answer_that_is_no_defect(
    path: str, headers: list[tuple[bytes, bytes]], chunks: list[bytes], proven: bool
) -> None:
    LOG.appended = []
    provider, body = path.rpartition("/")[2], b"".join(chunks)
    if proven and provider != "healthkit":
        # The last of two headers counts, so what was generated may stand in the way.
        signed = SIGNATURES[provider](SECRET, body, int(RECEIVED.timestamp() * 1000))
        headers = [(n.encode(), v.encode()) for n, v in signed.items()] + headers
    status, answer = await asked("POST", path, headers, chunks)
    assert status < 500
    assert len(LOG.appended) == (status < 300)
    for _, value in headers:
        text = value.decode("latin-1")
        assert len(text) < SHORTEST or text in "application/json" or text not in json.dumps(answer)


@given(st.binary(max_size=60) | st.text(max_size=30).map(str.encode))
async def test_any_query_is_no_challenge_of_ours(query: bytes) -> None:
    for sent in (query, b"verification_token=" + query, b"challenge=x&verification_token=" + query):
        assert (await asked("GET", "/webhooks/oura", [], [], sent))[0] == 401


@st.composite
def squeezed(draw: st.DrawFn) -> bytes:
    """A gzip body, perhaps with something wrong."""
    plain = draw(st.binary(max_size=50)) * draw(st.sampled_from((1, 1, 100, 5000)))
    body = bytearray(gzip.compress(plain, draw(st.sampled_from((0, 1, 9))), mtime=0))
    match draw(st.sampled_from(("whole", "whole", "cut", "longer", "twice", "changed"))):
        case "cut":
            del body[draw(st.integers(0, len(body))) :]
        case "longer":
            body += draw(st.binary(max_size=9))
        case "twice":
            body = body * 2
        case "changed":
            body[draw(st.integers(0, len(body) - 1))] ^= draw(st.integers(1, 255))
    return bytes(body)


@given(squeezed() | st.binary(max_size=60), st.sampled_from((10, 1000, MAX_BODY_BYTES)))
def test_a_body_that_is_accepted_inflates_to_what_was_counted(body: bytes, limit: int) -> None:
    delivery = events.Delivery(
        id="1", provider="healthkit", received_at=RECEIVED, body=body, user_id="anna", content_encoding="gzip"
    )
    try:
        size = inflated_size(body, limit)
    except ProblemError as error:
        assert error.status in (400, 413)  # noqa: PT017 - which of the two depends on what was drawn
        return
    assert size <= limit
    assert len(plain_body(delivery)) == size == len(gzip.decompress(body))


@pytest.mark.parametrize("read", ["intake", "decoder"])
def test_a_bomb_takes_no_more_than_its_bounds(read: str) -> None:
    bomb = gzip.compress(bytes(2 * MAX_BODY_BYTES))
    delivery = events.Delivery(id="1", provider="terra", received_at=RECEIVED, body=bomb, content_encoding="gzip")
    tracemalloc.start()
    try:
        if read == "intake":
            with pytest.raises(ProblemError):
                inflated_size(bomb)
        else:
            with pytest.raises(DecodeError):
                plain_body(delivery)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A decoder needs the whole of it at once, and zlib doubles what it writes into.
    assert most < (4 * 2**20 if read == "intake" else 2.5 * MAX_BODY_BYTES)
