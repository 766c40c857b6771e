"""What the fuzz of each service's HTTP shares: how much of it, how a request proves itself, what an answer must be."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar

import schemathesis
from schemathesis import Response
from schemathesis.checks import CheckFunction, load_all_checks, not_a_server_error
from schemathesis.core import NotSet
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

import auren
from auren.bridge.simulated_vendors import SIGNATURES
from tests.unit.services.front import SECRET, token

T = TypeVar("T")
Case = schemathesis.Case[Any]
"""A request that was made from an operation of a document."""

SOURCES: Final = "".join(path.read_text() for path in sorted(Path(auren.__file__).parent.rglob("*.py")))
SHORTEST: Final = 8
"""Letters of an input that stand in an answer by no chance."""

SCOPES: Final = "push:healthkit read:biometrics chat:neuros connect:providers users:all"
CHECKS: Final[list[CheckFunction]] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
    allow_header_conformance,
]
"""Whether data that is not as documented is refused is not among them: a webhook takes whatever is signed."""

Proof = Literal["ours", "gzip", "another's", "none"]
"""A good one, the same over a body sent as gzip, somebody else's, or whatever headers were generated."""
PROOFS: Final[tuple[Proof, ...]] = ("ours", "ours", "gzip", "another's", "none")
"""More of what gets past the door."""


def config(examples: int) -> schemathesis.Config:
    """The same requests in each run. A 500 is documented, and a defect all the same."""
    load_all_checks()
    return schemathesis.Config.from_dict(
        {
            "generation": {"max-examples": examples, "deterministic": True, "no-shrink": True},
            "checks": {"not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "503"]}},
        }
    )


def chosen(case: Case, among: Sequence[T]) -> T:
    """One of several, by what the case holds: the same in each run, also for cases that no strategy made."""
    body = "" if isinstance(case.body, NotSet) else case.body  # which has another name in each run
    content = repr((among, case.method, case.path, case.path_parameters, sorted(case.query.items()), body))
    return among[zlib.crc32(content.encode("utf-8", "replace")) % len(among)]


class Keys(NamedTuple):
    """What a service takes as proof: the vendors' secret, and a person's token with these scopes."""

    secret: bytes = SECRET
    token: Callable[[str], str] = token


def ask(case: Case, proof: Proof, keys: Keys = Keys(), base_url: str | None = None) -> Response:  # noqa: B008
    """Send a case, and hold the answer to the service's document."""
    answer = case.call(base_url, auth=None if proof == "none" else proven(case.path, proof, keys))
    case.validate_response(answer, checks=CHECKS)
    return answer


def proven(path: str, proof: Proof, keys: Keys) -> Callable[[Any], Any]:
    """Makes a request that is ready to be sent that of a vendor or a person; as `requests` takes it for `auth`."""

    def prove(request: Any) -> Any:
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        if proof == "gzip":
            body = gzip.compress(body)
            request.headers.update({"Content-Encoding": "gzip", "Content-Length": str(len(body))})
            request.body = body
        request.headers.update(_headers(path.rpartition("/")[2], proof != "another's", body, keys))
        return request

    return prove


def _headers(last: str, ours: bool, body: bytes, keys: Keys) -> dict[str, str]:
    if last not in SIGNATURES or last == "healthkit":
        return {"authorization": f"Bearer {keys.token(SCOPES if ours else 'nothing:at-all')}"}
    return SIGNATURES[last](keys.secret if ours else b"another's secret", body, int(time.time() * 1000))


def shows_nothing_of(case: Case, answer: Response) -> None:
    """No text of a request stands in an answer that refuses it: it may be somebody's data, or a script."""
    known = json.dumps(case.operation.schema.raw_schema) + SOURCES  # Hypothesis also takes texts out of our sources
    for text in _texts([case.path_parameters, dict(case.headers), case.query, case.body]):
        assert text not in answer.text or text in known, f"{text!r} of the request stands in the answer"


def _texts(value: object) -> Iterator[str]:
    """Every name and text that is long enough."""
    if isinstance(value, str) and len(value) >= SHORTEST:
        yield value
    elif isinstance(value, dict):
        yield from _texts([*value, *value.values()])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
