"""Settings of the language model."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from auren.settings import Settings

OPENAI_URL: Final = "https://api.openai.com/v1"


class ModelSettings(Settings):
    """Which model is asked, and what it may cost. Mode `rules` asks none.

    The key is the file auren_llm_api_key; a server of one's own (mode `local`) may need none.
    """

    llm_mode: Literal["rules", "openai", "local"] = "rules"
    llm_base_url: str = ""
    llm_api: Literal["responses", "chat"] = "responses"
    llm_model: Annotated[str, Field(max_length=200)] = ""
    llm_api_key: SecretStr | None = None
    llm_timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 30.0
    llm_first_token_seconds: Annotated[float, Field(gt=0, le=300)] = 20.0
    llm_daily_tokens: Annotated[int, Field(ge=1, le=1_000_000_000)] = 100_000
    """Per user. A reply sets aside a token for each byte of its prompt first: below some 20,000 few would be made."""

    llm_max_output_tokens: Annotated[int, Field(ge=16, le=32_768)] = 600

    @field_validator("llm_base_url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        plain = not (parts.username or parts.password or parts.query or parts.fragment)
        if value and not (parts.scheme in {"http", "https"} and parts.hostname and plain):
            raise ValueError("is no base URL such as https://api.openai.com/v1, without user, query or fragment")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.llm_mode != "rules" and not self.llm_model:
            raise ValueError(f"AUREN_LLM_MODEL is needed with AUREN_LLM_MODE={self.llm_mode}")
        if self.llm_mode == "local" and not self.llm_base_url:
            raise ValueError("AUREN_LLM_BASE_URL is needed with AUREN_LLM_MODE=local")
        return self

    @property
    def llm_url(self) -> str:
        """Where the model is asked."""
        return self.llm_base_url or OPENAI_URL

    @property
    def llm_key(self) -> str | None:
        """The key, if there is one: an empty file is none."""
        key = self.llm_api_key.get_secret_value().strip() if self.llm_api_key is not None else ""
        return key or None
