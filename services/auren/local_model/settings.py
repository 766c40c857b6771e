"""Settings of the local model."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from auren.settings import LogSettings, Port


class LocalModelSettings(LogSettings):
    """Where it listens, where its weights are put together, and how much of the machine it takes.

    A request may be as long as `local_model_context_tokens`, its answer included; `local_model_slots` are answered side
    by side, each with that much memory of its own, and more of them wait.
    """

    host: str = "0.0.0.0"
    port: Port = 8080
    local_model_dir: Path
    local_model_threads: Annotated[int, Field(ge=1, le=64)] = 2
    local_model_slots: Annotated[int, Field(ge=1, le=16)] = 2
    local_model_context_tokens: Annotated[int, Field(ge=512, le=32_768)] = 8192
