"""Downloads of pointers: allowed hosts only, public addresses only, bounded, and expired told apart from away."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auren.bridge.decoders import Pointer
from auren.bridge.vendors import ExpiredError, RetryLaterError, UnusableError, UpstreamFailedError, VendorError
from auren.bridge.vendors.breaker import Breaker
from auren.bridge.vendors.download import Downloads, Place, is_public
from auren.link import CLOSED, OPEN
from auren.topics import MAX_BODY_BYTES
from tests.api.pki import Authority
from tests.unit.services.test_vendors_breaker import Time

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ALLOWED = ("payloads.example.org", "storage.example.com/terra-bucket")
ADDRESS = "93.184.216.34"
URL = "https://eu.payloads.example.org/a%2Fb/c%20d?X-Signature=ab%3D&user=anna-secret-id"

Answers = Callable[[httpx.Request], httpx.Response]


class Net:
    """Names, and what answers at the addresses."""

    def __init__(self, answer: Answers | httpx.Response, addresses: Sequence[str] = (ADDRESS,)) -> None:
        self.addresses = list(addresses)
        self.asked_names: list[str] = []
        self.requests: list[httpx.Request] = []
        self._answer = answer
        self.breaker = Breaker("terra-payloads", Time(), failures=2)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._answer if isinstance(self._answer, httpx.Response) else self._answer(request)

    async def resolve(self, host: str) -> list[str]:
        self.asked_names.append(host)
        return self.addresses

    def downloads(self, allowed: Sequence[str] = ALLOWED, total_seconds: float = 30) -> Downloads:
        transport = httpx.MockTransport(self._handle)
        return Downloads(allowed, self.breaker, transport=transport, resolve=self.resolve, total_seconds=total_seconds)

    async def get(self, url: str = URL, allowed: Sequence[str] = ALLOWED, expires_at: datetime | None = None) -> bytes:
        return await self.downloads(allowed).download(Pointer(url, expires_at), NOW)


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def answers(body: bytes = b'{"type":"sleep"}', status: int = 200, **headers: str) -> httpx.Response:
    """An answer whose body httpx has not decoded."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, content=stream(body))


async def test_a_payload_comes_from_the_address_that_was_checked() -> None:
    net = Net(answers())
    assert await net.get() == b'{"type":"sleep"}'
    (request,) = net.requests
    assert net.asked_names == ["eu.payloads.example.org"]
    assert request.url.host == ADDRESS
    assert request.url.raw_path == b"/a%2Fb/c%20d?X-Signature=ab%3D&user=anna-secret-id"
    assert request.headers["host"] == "eu.payloads.example.org"
    assert request.extensions["sni_hostname"] == "eu.payloads.example.org"
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    "url",
    [
        "https://payloads.example.org/x",
        "https://PAYLOADS.example.org./x",
        "https://a.b.payloads.example.org:443/x",
        "https://storage.example.com/terra-bucket/x",
        "HTTPS://payloads.example.org",
    ],
)
async def test_allowed_addresses(url: str) -> None:
    assert await Net(answers()).get(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://payloads.example.org/x",
        "ftp://payloads.example.org/x",
        "//payloads.example.org/x",
        "payloads.example.org/x",
        "https://payloads.example.org:8443/x",
        "https://payloads.example.org:80/x",
        "https://user:password@payloads.example.org/x",
        "https://payloads.example.org@evil.example.net/x",
        "https://payloads.example.org\\@evil.example.net/x",
        "https://evil.example.net/payloads.example.org",
        "https://evil.example.net/#payloads.example.org",
        "https://evilpayloads.example.org/x",
        "https://payloads.example.org.evil.example.net/x",
        "https://example.org/x",
        "https://org/x",
        "https://payloads.example.org../x",
        "https://storage.example.com/x",
        "https://storage.example.com/terra-bucket",
        "https://storage.example.com/terra-bucket-of-evil/x",
        "https://storage.example.com/terra-bucket%2Fx",
        "https://storage.example.com/terra-bucket/../evil/x",
        "https://storage.example.com/terra-bucket/%2e%2e/evil/x",
        "https://storage.example.com//terra-bucket/x",
        "https://93.184.216.34/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://2130706433/x",
        "https://0x7f.1/x",
        "https://localhost/x",
        "https://169.254.169.254/latest/meta-data",
        "https:///x",
        "https://",
        "",
        "https://payloads.example.org\r\nHost: evil/x",
        "https://pаyloads.example.org/x",  # noqa: RUF001 - a Cyrillic letter
        "x" * 70_000,
    ],
)
async def test_other_addresses_are_refused_before_any_look_up(url: str) -> None:
    net = Net(answers())
    with pytest.raises(UnusableError):
        await net.get(url)
    assert net.asked_names == []
    assert net.requests == []


async def test_an_empty_list_allows_nothing() -> None:
    with pytest.raises(UnusableError):
        await Net(answers()).get(allowed=())


@pytest.mark.parametrize(
    "text", ["", "org", "*.example.org", "https://example.org", "example..org", "10.0.0.1", "a b.org", ".org", "ä.org"]
)
def test_a_wrong_place_stops_the_start(text: str) -> None:
    with pytest.raises(ValueError, match="host name"):
        Place.parse(text)


@given(st.text(), st.text())
def test_whatever_a_pointer_says_only_listed_hosts_are_asked(before: str, after: str) -> None:
    net = Net(answers())
    try:
        asyncio.run(net.get(f"https://{before}payloads.example.org{after}"))
    except VendorError:
        assert net.requests == []
    for name in net.asked_names:
        assert name == "payloads.example.org" or name.endswith(".payloads.example.org")


PRIVATE = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "198.18.0.1",
    "192.0.2.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "fe80::1",
    "fe80::1%eth0",
    "fd00::1",
    "ff0e::1",
    "2001::1",
    "no address",
]


@pytest.mark.parametrize("address", PRIVATE)
async def test_hosts_inside_a_network_are_refused(address: str) -> None:
    assert not is_public(address)
    for addresses in ([address], [ADDRESS, address], [address, ADDRESS]):
        net = Net(answers(), addresses)
        with pytest.raises(UnusableError):
            await net.get()
        assert net.requests == []


@pytest.mark.parametrize("address", [ADDRESS, "2600:1f18::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"])
async def test_public_addresses(address: str) -> None:
    net = Net(answers(), [address])
    assert await net.get()
    assert net.requests[0].url.raw_host == address.encode()


async def test_a_name_is_looked_up_once_for_one_download() -> None:
    net = Net(answers())
    await net.get()
    assert net.asked_names == ["eu.payloads.example.org"]  # a second look-up could give another address


async def test_a_name_without_address_is_tried_again() -> None:
    net = Net(answers(), [])
    with pytest.raises(RetryLaterError):
        await net.get()

    async def fails(_host: str) -> list[str]:
        raise OSError("no such name: anna-secret-id")

    net = Net(answers())
    downloads = Downloads(ALLOWED, net.breaker, transport=httpx.MockTransport(net._handle), resolve=fails)
    with pytest.raises(RetryLaterError) as refused:
        await downloads.download(Pointer(URL, None), NOW)
    assert "anna" not in str(refused.value)


@pytest.mark.parametrize(("seconds", "expired"), [(-1, True), (0, True), (1, False)])
async def test_a_pointer_ends(seconds: int, expired: bool) -> None:
    net = Net(answers())
    expires_at = NOW + timedelta(seconds=seconds)
    if not expired:
        assert await net.get(expires_at=expires_at)
        return
    with pytest.raises(ExpiredError):
        await net.get(expires_at=expires_at)
    assert net.asked_names == []


@pytest.mark.parametrize(
    ("status", "body"), [(403, b""), (404, b""), (410, b""), (400, b"<Error><Code>ExpiredToken</Code></Error>")]
)
async def test_a_host_that_does_not_give_it_out_any_more(status: int, body: bytes) -> None:
    net = Net(answers(body, status))
    with pytest.raises(ExpiredError):
        await net.get()
    assert net.breaker.state == CLOSED


@pytest.mark.parametrize("status", [201, 204, 206, 301, 302, 303, 307, 308, 400, 401, 418])
async def test_other_answers_are_of_no_use(status: int) -> None:
    net = Net(answers(status=status, location="https://169.254.169.254/latest"))
    with pytest.raises(UnusableError) as refused:
        await net.get()
    assert not isinstance(refused.value, ExpiredError)
    assert len(net.requests) == 1


async def test_a_host_that_fails_is_left_alone() -> None:
    net = Net(lambda _request: answers(status=503, retry_after="9"))
    for _ in range(2):
        with pytest.raises(UpstreamFailedError) as refused:
            await net.get()
        assert refused.value.seconds == 9
    assert net.breaker.state == OPEN
    with pytest.raises(RetryLaterError):
        await net.get()
    assert len(net.requests) == 2


async def test_a_host_that_limits_us() -> None:
    with pytest.raises(RetryLaterError) as refused:
        await Net(answers(status=429, retry_after="5")).get()
    assert refused.value.seconds == 5


async def test_the_largest_payload_is_taken_and_one_byte_more_is_not() -> None:
    whole = b"x" * MAX_BODY_BYTES
    assert await Net(answers(whole)).get() == whole
    with pytest.raises(UnusableError, match="too large"):
        await Net(answers(whole + b"x")).get()


async def test_gzip_is_inflated_up_to_the_same_size() -> None:
    whole = b" " * MAX_BODY_BYTES
    assert await Net(answers(gzip.compress(whole), content_encoding="gzip")).get() == whole
    with pytest.raises(UnusableError, match="too large"):
        await Net(answers(gzip.compress(whole + b" "), content_encoding="gzip")).get()


async def test_a_bomb_takes_no_memory() -> None:
    bomb = gzip.compress(b" " * 8 * MAX_BODY_BYTES, compresslevel=1)
    net = Net(answers(bomb, content_encoding="gzip"))
    tracemalloc.start()
    try:
        with pytest.raises(UnusableError, match="too large"):
            await net.get()
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_BODY_BYTES
    finally:
        tracemalloc.stop()


async def test_no_more_is_read_than_is_allowed() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1024 * 1024
            yield b"x" * 1024 * 1024

    with pytest.raises(UnusableError, match="too large"):
        await Net(httpx.Response(200, content=endless())).get()
    assert read <= MAX_BODY_BYTES + 1024 * 1024


async def test_time_is_limited_as_a_whole() -> None:
    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.001)

    net = Net(httpx.Response(200, content=drip()))
    with pytest.raises(UpstreamFailedError):
        await net.downloads(total_seconds=0.05).download(Pointer(URL, None), NOW)

    async def silent(_host: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    slow = Downloads(ALLOWED, net.breaker, resolve=silent, total_seconds=0.05)
    with pytest.raises(UpstreamFailedError):
        await slow.download(Pointer(URL, None), NOW)
    await slow.stop()


@pytest.mark.parametrize("status", [200, 302, 400, 403, 429, 500])
async def test_errors_do_not_show_the_address(status: int) -> None:
    net = Net(answers(b"anna-secret-id" * 10**7 if status == 200 else b"anna-secret-id", status))
    with pytest.raises(VendorError) as refused:
        await net.get()
    shown = repr(refused.value) + repr(refused.value.__cause__)
    assert "anna" not in shown
    assert "payloads" not in shown


class Rerouted(httpx.AsyncBaseTransport):
    """Real TLS, but whatever address is asked for, the connection goes to a port of this machine."""

    def __init__(self, port: int, authority: Authority) -> None:
        self._port = port
        context = ssl.create_default_context(cafile=str(authority.certificate_file))
        self._inner = httpx.AsyncHTTPTransport(verify=context)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(host="localhost", port=self._port)
        return await self._inner.handle_async_request(request)


@pytest.mark.parametrize(("name", "trusted"), [("eu.payloads.example.org", True), ("other.example.org", False)])
async def test_the_certificate_is_verified_for_the_name(tmp_path: Path, name: str, trusted: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    authority = Authority(tmp_path)
    certificate, key = authority.server("server", [name])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    net = Net(answers())
    transport = Rerouted(server.sockets[0].getsockname()[1], authority)
    downloads = Downloads(ALLOWED, net.breaker, transport=transport, resolve=net.resolve)
    async with server:
        if trusted:
            assert await downloads.download(Pointer(URL, NOW + dt.timedelta(minutes=1)), NOW) == b"{}"
        else:
            with pytest.raises(UpstreamFailedError, match="ConnectError"):
                await downloads.download(Pointer(URL, None), NOW)
    await downloads.stop()
