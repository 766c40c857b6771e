"""Good and bad specs of NEUROS' models, texts and interventions: rows of the table in `spec_cases.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tests.unit.operator.provider_cases import Row, good

LLM: Final = "spec.neuros.llm"
EMBEDDINGS: Final = "spec.neuros.embeddings"
QUIET: Final = "spec.neuros.interventions.quietHours"
MODEL: Final = f"{LLM}: model is needed while mode is openai"
REACHABLE: Final = (
    f"{LLM}: baseUrl or apiKeySecretRef is needed while mode is openai: without a baseUrl OpenAI itself is asked, "
    "which wants a key"
)
LOCAL: Final = (
    f"{LLM}: baseUrl and model must be left out while mode is local: the operator runs the model and knows both"
)
ADDRESS: Final = "must be an http or https address without user, query or fragment, such as https://api.openai.com/v1"
ONE_MODEL: Final = f"{EMBEDDINGS}: model and dimension are needed while mode is openai"
SPELLING: Final = f"{EMBEDDINGS}: baseUrl, model and dimension must be left out while mode is local"
EMBEDDINGS_REACHABLE: Final = (
    "spec.neuros: embeddings.baseUrl or llm.apiKeySecretRef is needed while embeddings.mode is openai: without a "
    "baseUrl OpenAI itself is asked, which wants a key"
)
KEY: Final = "must be a key such as api-key: letters, digits, '-', '_' and '.'"
TIME: Final = "must be a time of day such as 22:00"

API_KEY: Final = {"name": "openai", "key": "api-key"}

EVERY_MODEL: Final[Mapping[str, Any]] = {
    "llm": {
        "mode": "openai",
        "baseUrl": "https://llm.example.com:8443/v1",
        "model": "gpt-large",
        "api": "chat",
        "apiKeySecretRef": API_KEY,
        "timeoutSeconds": 300,
        "dailyTokensPerUser": 1_000_000_000,
        "maxOutputTokens": 32_768,
    },
    "embeddings": {
        "mode": "openai",
        "baseUrl": "http://10.0.0.7/v1/",
        "model": "text-embedding-3-small",
        "dimension": 1536,
    },
    "personality": {"configMapRef": {"name": "voice", "key": "our.yaml"}},
    "protocols": {"configMapRef": {"name": "protocols.v2", "key": "protocols"}},
    "interventions": {"cooldownSeconds": 0, "dailyCap": 48, "quietHours": {"from": "21:30", "to": "23:59"}},
}
"""All that `spec.neuros` can say beyond any service."""


def llm(**fields: Any) -> dict[str, Any]:
    """A spec whose language model has these fields."""
    return {"neuros": {"llm": fields}}


def embeddings(**fields: Any) -> dict[str, Any]:
    """A spec whose embeddings have these fields, and whose language model has a key."""
    return {"neuros": {"embeddings": fields, "llm": {"apiKeySecretRef": API_KEY}}}


def quiet(start: str, end: str) -> dict[str, Any]:
    """A spec with quiet hours."""
    return {"neuros": {"interventions": {"quietHours": {"from": start, "to": end}}}}


GOOD: Final[tuple[Row, ...]] = (
    good("OpenAI with a key", llm(mode="openai", model="gpt", apiKeySecretRef=API_KEY)),
    good("a server that wants no key", llm(mode="openai", model="m", baseUrl="http://ollama.models.svc:11434/v1")),
    good("a local model", llm(mode="local", timeoutSeconds=60)),
    good("a model for later", llm(mode="rules", model="gpt", baseUrl="https://a/b%20c")),
    good(
        "a local model beside OpenAI's embeddings",
        {
            "neuros": {
                "llm": {"mode": "local", "apiKeySecretRef": API_KEY},
                "embeddings": {"mode": "openai", "model": "e", "dimension": 8},
            }
        },
    ),
    good("quiet through the night", quiet("22:00", "00:00")),
)

BAD: Final[tuple[Row, ...]] = (
    ("a mode of the model there is not", llm(mode="cloud"), (), (f"{LLM}.mode",)),
    ("OpenAI without a model", llm(mode="openai", apiKeySecretRef=API_KEY), (MODEL,), ()),
    ("OpenAI without a key", llm(mode="openai", model="gpt"), (REACHABLE,), ()),
    ("OpenAI without anything", llm(mode="openai"), (MODEL, REACHABLE), ()),
    ("a local model elsewhere", llm(mode="local", baseUrl="http://a"), (LOCAL,), ()),
    ("a local model by name", llm(mode="local", model="m"), (LOCAL,), ()),
    ("a model without a name", llm(model=""), (), (f"{LLM}.model",)),
    ("a model at no URL", llm(baseUrl="llm.example.com"), (f"{LLM}.baseUrl: {ADDRESS}",), ()),
    ("a model's URL with a password", llm(baseUrl="https://me:pw@llm/v1"), (f"{LLM}.baseUrl: {ADDRESS}",), ()),
    ("a model's URL with a query", llm(baseUrl="https://llm/v1?key=1"), (f"{LLM}.baseUrl: {ADDRESS}",), ()),
    ("an interface there is not", llm(api="completions"), (), (f"{LLM}.api",)),
    ("a key's Secret without a key", llm(apiKeySecretRef={"name": "a"}), (), (f"{LLM}.apiKeySecretRef.key",)),
    (
        "a key that no Secret has",
        llm(apiKeySecretRef={"name": "a", "key": "b/c"}),
        (f"{LLM}.apiKeySecretRef.key: {KEY}",),
        (),
    ),
    ("no time for a reply", llm(timeoutSeconds=0), (), (f"{LLM}.timeoutSeconds",)),
    ("no tokens a day", llm(dailyTokensPerUser=0), (), (f"{LLM}.dailyTokensPerUser",)),
    ("hardly any tokens", llm(maxOutputTokens=15), (), (f"{LLM}.maxOutputTokens",)),
    ("embeddings of no model", embeddings(mode="openai", dimension=8), (ONE_MODEL,), ()),
    ("embeddings of no dimension", embeddings(mode="openai", model="e"), (ONE_MODEL,), ()),
    (
        "embeddings of one dimension",
        embeddings(mode="openai", model="e", dimension=1),
        (),
        (f"{EMBEDDINGS}.dimension",),
    ),
    ("a model for local embeddings", embeddings(model="e"), (SPELLING,), ()),
    ("a dimension for local embeddings", embeddings(mode="local", dimension=512), (SPELLING,), ()),
    (
        "OpenAI's embeddings without a key",
        {"neuros": {"embeddings": {"mode": "openai", "model": "e", "dimension": 8}}},
        (EMBEDDINGS_REACHABLE,),
        (),
    ),
    (
        "a text of no ConfigMap",
        {"neuros": {"personality": {"configMapRef": {"key": "a"}}}},
        (),
        ("spec.neuros.personality.configMapRef.name",),
    ),
    (
        "interventions without end",
        {"neuros": {"interventions": {"dailyCap": 49}}},
        (),
        ("spec.neuros.interventions.dailyCap",),
    ),
    (
        "a cooldown of two days",
        {"neuros": {"interventions": {"cooldownSeconds": 172_800}}},
        (),
        ("spec.neuros.interventions.cooldownSeconds",),
    ),
    ("an hour there is not", quiet("24:00", "07:00"), (f"{QUIET}.from: {TIME}",), ()),
    ("an hour by the word", quiet("22:00", "seven"), (f"{QUIET}.to: {TIME}",), ()),
    ("quiet from now till now", quiet("22:00", "22:00"), (f"{QUIET}: from and to must differ",), ()),
    ("quiet without end", {"neuros": {"interventions": {"quietHours": {"from": "22:00"}}}}, (), (f"{QUIET}.to",)),
)
