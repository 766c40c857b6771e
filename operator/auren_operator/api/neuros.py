"""What `spec.neuros` says beyond any service: its language model, its memory's vectors, its texts, its interventions.

The shape and rules of these fields, and what they resolve to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from auren_operator.api.schema import Fields, Integer, Rule, Text
from auren_operator.api.syntax import OBJECT_NAME, matches

LlmMode = Literal["rules", "openai", "local"]
LlmApi = Literal["responses", "chat"]
EmbeddingsMode = Literal["local", "openai"]

LLM_MODE: Final[LlmMode] = "rules"
LLM_API: Final[LlmApi] = "responses"
TIMEOUT_SECONDS: Final = 30
DAILY_TOKENS: Final = 100_000
MAX_OUTPUT_TOKENS: Final = 600
EMBEDDINGS_MODE: Final[EmbeddingsMode] = "local"
COOLDOWN_SECONDS: Final = 300
DAILY_CAP: Final = 6
QUIET_FROM: Final = "22:00"
QUIET_TO: Final = "07:00"
"""What holds where the spec says nothing; the services have the same."""


@dataclass(frozen=True, slots=True)
class KeyRef:
    """One key of a Secret or ConfigMap that a person makes."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Llm:
    """The language model. ``base_url``, ``model`` and ``api`` are those of mode ``openai``.

    ``timeout_seconds`` is for a whole reply, ``daily_tokens`` for one user, ``max_output_tokens`` for one reply.
    """

    mode: LlmMode
    base_url: str | None
    model: str | None
    api: LlmApi
    api_key: KeyRef | None
    timeout_seconds: int
    daily_tokens: int
    max_output_tokens: int


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What makes vectors of texts; all but the mode is None in mode ``local``."""

    mode: EmbeddingsMode
    base_url: str | None
    model: str | None
    dimension: int | None


@dataclass(frozen=True, slots=True)
class Interventions:
    """How often NEUROS speaks first; the times are ``HH:MM`` by the person's own clock."""

    cooldown_seconds: int
    daily_cap: int
    quiet_from: str
    quiet_to: str


@dataclass(frozen=True, slots=True)
class NeurosExtras:
    """The fields of `spec.neuros` that no other service has. The texts are None where the built-in ones hold."""

    llm: Llm
    embeddings: Embeddings
    personality: KeyRef | None
    protocols: KeyRef | None
    interventions: Interventions

    @property
    def api_key(self) -> KeyRef | None:
        """The person's key at a model's vendor; None where nothing that is switched on would use it."""
        return self.llm.api_key if "openai" in (self.llm.mode, self.embeddings.mode) else None


def neuros_extras(asked: Mapping[str, Any]) -> NeurosExtras:
    """What `spec.neuros`, held to its rules, asks for."""
    return NeurosExtras(
        llm=_llm(asked.get("llm", {})),
        embeddings=_embeddings(asked.get("embeddings", {})),
        personality=_reference(asked.get("personality", {}).get("configMapRef")),
        protocols=_reference(asked.get("protocols", {}).get("configMapRef")),
        interventions=_interventions(asked.get("interventions", {})),
    )


def _llm(asked: Mapping[str, Any]) -> Llm:
    return Llm(
        mode=asked.get("mode", LLM_MODE),
        base_url=asked.get("baseUrl"),
        model=asked.get("model"),
        api=asked.get("api", LLM_API),
        api_key=_reference(asked.get("apiKeySecretRef")),
        timeout_seconds=asked.get("timeoutSeconds", TIMEOUT_SECONDS),
        daily_tokens=asked.get("dailyTokensPerUser", DAILY_TOKENS),
        max_output_tokens=asked.get("maxOutputTokens", MAX_OUTPUT_TOKENS),
    )


def _embeddings(asked: Mapping[str, Any]) -> Embeddings:
    return Embeddings(
        mode=asked.get("mode", EMBEDDINGS_MODE),
        base_url=asked.get("baseUrl"),
        model=asked.get("model"),
        dimension=asked.get("dimension"),
    )


def _interventions(asked: Mapping[str, Any]) -> Interventions:
    quiet = asked.get("quietHours", {})
    return Interventions(
        cooldown_seconds=asked.get("cooldownSeconds", COOLDOWN_SECONDS),
        daily_cap=asked.get("dailyCap", DAILY_CAP),
        quiet_from=quiet.get("from", QUIET_FROM),
        quiet_to=quiet.get("to", QUIET_TO),
    )


def _reference(asked: Mapping[str, Any] | None) -> KeyRef | None:
    return KeyRef(asked["name"], asked["key"]) if asked else None


def _mode(part: Mapping[str, Any], default: str) -> str:
    return str(part.get("mode") or default)


def _has_a_model(llm: Mapping[str, Any]) -> bool:
    return _mode(llm, LLM_MODE) != "openai" or "model" in llm


def _can_be_asked(llm: Mapping[str, Any]) -> bool:
    return _mode(llm, LLM_MODE) != "openai" or "baseUrl" in llm or "apiKeySecretRef" in llm


def _leaves_the_local_model_alone(llm: Mapping[str, Any]) -> bool:
    return _mode(llm, LLM_MODE) != "local" or not {"baseUrl", "model"} & set(llm)


def _is_one_model(embeddings: Mapping[str, Any]) -> bool:
    is_remote = _mode(embeddings, EMBEDDINGS_MODE) == "openai"
    return not is_remote or {"model", "dimension"} <= set(embeddings)


def _leaves_spelling_alone(embeddings: Mapping[str, Any]) -> bool:
    is_local = _mode(embeddings, EMBEDDINGS_MODE) == "local"
    return not is_local or not {"model", "dimension", "baseUrl"} & set(embeddings)


def _embeddings_can_be_asked(neuros: Mapping[str, Any]) -> bool:
    embeddings = neuros["embeddings"]
    is_remote = _mode(embeddings, EMBEDDINGS_MODE) == "openai"
    return not is_remote or "baseUrl" in embeddings or "apiKeySecretRef" in neuros["llm"]


def _ends_some_time(quiet: Mapping[str, Any]) -> bool:
    start, end = (quiet.get("from"), quiet.get("to"))
    return start is None or start != end


_URL: Final = Text(
    512,
    rules=(
        Rule(
            "must be an http or https address without user, query or fragment, such as https://api.openai.com/v1",
            matches(r"https?://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[1-9][0-9]{0,4})?(/[-A-Za-z0-9._~%/]*)?"),
        ),
    ),
)
_MODEL: Final = Text(200, shortest=1)
_KEY_REF: Final = Fields(
    {
        "name": Text(253, rules=(OBJECT_NAME,)),
        "key": Text(
            253,
            rules=(
                Rule("must be a key such as api-key: letters, digits, '-', '_' and '.'", matches(r"[-._a-zA-Z0-9]+")),
            ),
        ),
    },
    required=("name", "key"),
)
_TIME: Final = Text(5, rules=(Rule("must be a time of day such as 22:00", matches(r"([01][0-9]|2[0-3]):[0-5][0-9]")),))

_LLM: Final = Fields(
    {
        "mode": Text(one_of=("rules", "openai", "local")),
        "baseUrl": _URL,
        "model": _MODEL,
        "api": Text(one_of=("responses", "chat")),
        "apiKeySecretRef": _KEY_REF,
        "timeoutSeconds": Integer(1, 300),
        "dailyTokensPerUser": Integer(1, 1_000_000_000),
        "maxOutputTokens": Integer(16, 32_768),
    },
    rules=(
        Rule("model is needed while mode is openai", _has_a_model),
        Rule(
            "baseUrl or apiKeySecretRef is needed while mode is openai: without a baseUrl OpenAI itself is asked, "
            "which wants a key",
            _can_be_asked,
        ),
        Rule(
            "baseUrl and model must be left out while mode is local: the operator runs the model and knows both",
            _leaves_the_local_model_alone,
        ),
    ),
)
_EMBEDDINGS: Final = Fields(
    {
        "mode": Text(one_of=("local", "openai")),
        "baseUrl": _URL,
        "model": _MODEL,
        "dimension": Integer(8, 4096),
    },
    rules=(
        Rule("model and dimension are needed while mode is openai", _is_one_model),
        Rule("baseUrl, model and dimension must be left out while mode is local", _leaves_spelling_alone),
    ),
)
_CONFIG_MAP: Final = Fields({"configMapRef": _KEY_REF})
_INTERVENTIONS: Final = Fields(
    {
        "cooldownSeconds": Integer(0, 86_400),
        "dailyCap": Integer(1, 48),
        "quietHours": Fields(
            {"from": _TIME, "to": _TIME},
            required=("from", "to"),
            rules=(Rule("from and to must differ", _ends_some_time),),
        ),
    }
)

NEUROS_FIELDS: Final = {
    "llm": _LLM,
    "embeddings": _EMBEDDINGS,
    "personality": _CONFIG_MAP,
    "protocols": _CONFIG_MAP,
    "interventions": _INTERVENTIONS,
}
"""What stands beside the fields that every service has."""

NEUROS_PARENTS: Final = ("llm", "embeddings", "interventions")
"""Those of them that the API server stores, empty, where they were left out."""

EMBEDDINGS_CAN_BE_ASKED: Final = Rule(
    "embeddings.baseUrl or llm.apiKeySecretRef is needed while embeddings.mode is openai: without a baseUrl OpenAI "
    "itself is asked, which wants a key",
    _embeddings_can_be_asked,
)
