"""Settings of the bridge's two processes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from auren.bridge.credentials import Credentials
from auren.bridge.tokens import TokenBox
from auren.bridge.vendors import oura, whoop
from auren.bridge.vendors.download import Place
from auren.bridge.webhooks.signed import DEFAULT_WINDOW_SECONDS
from auren.settings import DatabaseSettings, KafkaSettings, Port, RedisSettings, ServiceSettings, Settings

Window = Annotated[float, Field(ge=1, le=86400)]
"""Seconds that the timestamp of a signature may lie from now."""

Address = Annotated[str, Field(pattern=r"^https?://[^\s/]+(/\S*)?$")]
"""Of a vendor, or of what stands for it."""

Rate = Annotated[float, Field(gt=0)]
"""Deliveries a second."""


Period = Annotated[float, Field(ge=1, le=7 * 86400)]
"""Seconds from one time to the next."""

Days = Annotated[float, Field(gt=0, le=366)]


class ProviderSettings(Settings):
    """Where the providers' credentials are: `providers_dir` holds a directory for each that is enabled."""

    providers_dir: Path = Path("/run/auren/providers")
    public_url: str = ""
    """The bridge's address as vendors and browsers reach it, without a path; needed for Oura and for OAuth."""
    oauth_keyring: SecretStr
    """Keys that encrypt people's tokens, as tokens.TokenBox reads them."""
    oura_api_url: str = oura.BASE_URL
    oura_token_url: str = oura.TOKEN_URL
    whoop_api_url: str = whoop.BASE_URL
    whoop_token_url: str = whoop.TOKEN_URL
    oura_authorize_url: Address = oura.AUTHORIZE_URL
    oura_revoke_url: Address = oura.REVOKE_URL
    whoop_authorize_url: Address = whoop.AUTHORIZE_URL
    terra_api_url: Address = "https://api.tryterra.co"
    terra_widget_url: Address = "https://access.tryterra.co/api/widget/session"
    """Where a session of Terra's widget is begun."""

    @field_validator("oauth_keyring")
    @classmethod
    def _keyring(cls, value: SecretStr) -> SecretStr:
        TokenBox(value.get_secret_value())
        return value

    def credentials(self, provider: str) -> Credentials:
        """Those of one provider, which need not be there."""
        return Credentials(self.providers_dir / provider)


class BridgeSettings(ProviderSettings, KafkaSettings, DatabaseSettings, RedisSettings, ServiceSettings):
    """`serve`: the webhooks. The database holds the revoked tokens."""

    port: Port = 8889
    healthkit_enabled: bool = True
    """Whether phones may push."""
    oura_window_seconds: Window = DEFAULT_WINDOW_SECONDS
    whoop_window_seconds: Window = DEFAULT_WINDOW_SECONDS
    terra_window_seconds: Window = DEFAULT_WINDOW_SECONDS
    deliveries_per_second: Rate = 5000.0
    """From one address for one provider. Vendors deliver for all their users from a few addresses."""
    pushes_per_second: Rate = 20.0
    """From one user's phone, which sends a backlog in many pushes."""


class CollectorSettings(ProviderSettings, KafkaSettings, DatabaseSettings, RedisSettings, ServiceSettings):
    """`collect`: no API of its own; health and metrics each have a port."""

    health_port: Port = 8890
    metrics_port: Port = 9465
    terra_payload_hosts: Annotated[tuple[str, ...], NoDecode] = (
        "storage.googleapis.com/terra-services-p-bkt-payloads",
    )
    """Where Terra may leave payloads: hosts, each with a bucket behind a slash or without. Terra's documentation shows
    this one; an own bucket is added here."""

    reconcile_round_seconds: Period = 300.0
    """How often people are looked for whose documents are due, a part of them each time. At five minutes somebody who
    has just connected sees what they measured before within minutes."""
    reconcile_seconds: Period = 6 * 3600.0
    """How often a vendor is asked for what its webhooks should have told. Vendors repeat a delivery for an hour, so
    what is lost is found on the same day; more often costs WHOOP's quota of 10,000 requests a day."""
    poll_seconds: Period = 3600.0
    """How often a vendor is asked for what no webhook tells: WHOOP's cycles (strain), Oura's heart rates."""
    reconcile_lookback_days: Days = 3.0
    """How far behind the last time: devices send what they measured when their owner opens the app."""
    backfill_days: Days = 30.0
    """How much of their past is read of people who connect: baselines need 28 days."""
    oura_subscriptions_seconds: Period = 6 * 3600.0
    """How often Oura's webhook subscriptions are looked through; they are renewed a week before their end."""

    @field_validator("terra_payload_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("terra_payload_hosts")
    @classmethod
    def _places(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            Place.parse(host)
        return value
