"""The port to language models. `from_settings` gives the model, or None where the rules answer alone.

model = from_settings(settings, redis_settings, metrics)
async with aclosing(model.reply(user_id, prompt)) as items:
    async for item in items:  # sentences, at the end Finished
"""

from __future__ import annotations

from auren.neuros.models.budget import CONNECTIONS, TIMEOUT_SECONDS
from auren.neuros.models.calling import LanguageModel
from auren.neuros.models.port import (
    BudgetSpentError,
    Finished,
    Model,
    ModelReply,
    ModelUnavailableError,
    Outcome,
    Prompt,
    Remembered,
    Role,
)
from auren.neuros.models.settings import ModelSettings
from auren.redis_client import redis_client
from auren.settings import RedisSettings
from auren.telemetry import Metrics

__all__ = [
    "BudgetSpentError",
    "Finished",
    "LanguageModel",
    "Model",
    "ModelReply",
    "ModelSettings",
    "ModelUnavailableError",
    "Outcome",
    "Prompt",
    "Remembered",
    "Role",
    "from_settings",
]


def from_settings(settings: ModelSettings, redis: RedisSettings, metrics: Metrics) -> LanguageModel | None:
    """The model that the settings name; None for mode `rules`. Light: the SDK is imported by its `load`.

    One for the process: it registers its metrics.
    """
    if settings.llm_mode == "rules":
        return None
    client = redis_client(redis, connections=CONNECTIONS, timeout_seconds=TIMEOUT_SECONDS)
    return LanguageModel(settings, client, metrics)
