"""Settings of the memory: which model makes vectors of texts."""

from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from auren.settings import ChromaSettings, RedisSettings

LOCAL_DIMENSION = 384
OPENAI_DIMENSION = 1536
"""What `text-embedding-3-small` gives."""


class EmbeddingSettings(RedisSettings, ChromaSettings):
    """`local` needs nothing and compares spelling alone; `openai` asks a server that speaks OpenAI's embeddings API.

    The key is the language model's: a server that needs another one has to be asked through a gateway.
    """

    embeddings_mode: Literal["local", "openai"] = "local"
    embeddings_model: str = "text-embedding-3-small"
    embeddings_base_url: str = ""
    embeddings_dimension: Annotated[int, Field(ge=8, le=4096)] | None = None
    llm_api_key: SecretStr | None = None

    @model_validator(mode="after")
    def _address(self) -> Self:
        if self.embeddings_base_url and not self.embeddings_base_url.startswith(("http://", "https://")):
            raise ValueError("AUREN_EMBEDDINGS_BASE_URL must begin with http:// or https://")
        return self

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        default = LOCAL_DIMENSION if self.embeddings_mode == "local" else OPENAI_DIMENSION
        return self.embeddings_dimension or default
