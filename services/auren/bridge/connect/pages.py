"""The page that a browser shows when it comes back from a vendor: static text, no script, nothing of the request."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from auren.bridge.connect.accounts import Outcome


class Page(NamedTuple):
    """What is answered: the status, what has happened, what the person can do."""

    status: int
    heading: str
    text: str


PAGES: Final[Mapping[Outcome, Page]] = {
    Outcome.CONNECTED: Page(200, "Connected", "Your account is connected. You can close this page."),
    Outcome.AWAITED: Page(
        200, "Almost connected", "Your account is connected as soon as Terra tells us of it. You can close this page."
    ),
    Outcome.DECLINED: Page(
        400, "Not connected", "The provider did not give its permission. To try again, start once more in the app."
    ),
    Outcome.NOT_KNOWN: Page(
        400,
        "Not connected",
        "This link is not valid: it has been used, is older than ten minutes, or was replaced by a newer one. Start "
        "once more in the app.",
    ),
    Outcome.REFUSED: Page(
        400, "Not connected", "The provider does not accept this login any more. Start once more in the app."
    ),
    Outcome.SCOPE: Page(
        403,
        "Not connected",
        "We may not ask the provider whose account this is. Start once more in the app, and allow access to the "
        "profile.",
    ),
    Outcome.TAKEN: Page(
        409,
        "Not connected",
        "This account of the provider is connected with another person here, who has to disconnect it first.",
    ),
    Outcome.GONE: Page(
        410,
        "Not connected",
        "You have disconnected, or your data was erased, since this login began. Start once more in the app if you "
        "want to connect.",
    ),
    Outcome.VENDOR_AWAY: Page(
        502, "Not connected", "The provider does not answer as it should. Start once more in the app in a few minutes."
    ),
    Outcome.AWAY: Page(
        503, "Not connected", "We cannot connect you just now. Start once more in the app in a few minutes."
    ),
}

NO_PROVIDER: Final = Page(404, "Not found", "There is no provider of this name to connect with.")

_STYLE: Final = "body{font:1.125rem/1.5 sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem}"
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
"""The address holds a code: no other site may learn it, and no cache keep the answer."""


def html(page: Page) -> str:
    """The document."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{page.heading}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f'<body>\n<main role="{"status" if page.status < 400 else "alert"}">\n<h1>{page.heading}</h1>\n'
        f"<p>{page.text}</p>\n</main>\n</body>\n</html>\n"
    )
