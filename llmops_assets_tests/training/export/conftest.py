"""A tiny base with a tokenizer, adapters over it, and jobs that export them."""

from pathlib import Path
from typing import Any, Protocol

import pytest

from llmops_assets.training.export.job import ExportJob, StageFacts
from llmops_assets.training.job import AdapterRef, BaseModelRef
from llmops_assets_tests.training.random_adapters import random_lora


@pytest.fixture(scope="session")
def lora(tmp_path_factory: pytest.TempPathFactory, base: BaseModelRef) -> AdapterRef:
    return random_lora(tmp_path_factory.mktemp("lora"), base, seed=1)


@pytest.fixture(scope="session")
def over_lora(tmp_path_factory: pytest.TempPathFactory, base: BaseModelRef, lora: AdapterRef) -> AdapterRef:
    return random_lora(tmp_path_factory.mktemp("over_lora"), base, seed=2, merged=(lora,))


class MakeExport(Protocol):
    def __call__(self, adapter: AdapterRef, folder: Path, **settings: Any) -> ExportJob: ...


@pytest.fixture
def make_export(base: BaseModelRef) -> MakeExport:
    """A job that exports an adapter of the tiny base to `folder`."""

    def make(adapter: AdapterRef, folder: Path, **settings: Any) -> ExportJob:
        stage = StageFacts(
            asset="tiny/sft_adapter",
            stage="sft",
            version="v1.0",
            sha256=adapter.sha256,
            mode="new",
            inputs={"sft_set": "d" * 64},
            metrics={"loss": 1.25},
        )
        return ExportJob(
            **{"name": "tiny v1.0", "base_model": base, "adapter": adapter, "chain": (stage,), "output_dir": folder}
            | settings
        )

    return make
