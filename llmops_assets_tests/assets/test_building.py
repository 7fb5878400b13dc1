"""What tells one artifact from another: settings that change it, and none that do not."""

import pytest

from llmops_assets.assets.adapter_training import RUNTIME_ONLY, on_one_rank
from llmops_assets.assets.building import BuildRequest
from llmops_assets.training.specs import CptSpec, KtoSpec


def fingerprint(**settings: object) -> str:
    spec = CptSpec.model_validate({"max_steps": 10, "learning_rate": 0.001, **settings})
    request = BuildRequest(
        recipe="tiny",
        asset="cpt_adapter",
        spec=spec,
        inputs={"corpus": "abc"},
        code_version="1",
        runtime_only=RUNTIME_ONLY,
        equivalent=on_one_rank(spec),
    )
    return request.fingerprint


@pytest.mark.parametrize(("ranks", "accumulation"), [(4, 1), (2, 2), (1, 4)])
def test_ranks_and_accumulation_count_by_their_product(ranks: int, accumulation: int) -> None:
    assert fingerprint(num_processes=ranks, gradient_accumulation=accumulation) == fingerprint(gradient_accumulation=4)


def test_ranks_of_kto_tell_artifacts_apart() -> None:
    assert not on_one_rank(KtoSpec(max_steps=10, learning_rate=0.001, backend="zero2", num_processes=2))


@pytest.mark.parametrize(
    "changed",
    [{"num_processes": 2}, {"gradient_accumulation": 2}, {"batch_size": 4}, {"backend": "zero3"}, {"seed": 8}],
)
def test_another_result_is_another_artifact(changed: dict) -> None:
    assert fingerprint(**changed) != fingerprint()


@pytest.mark.parametrize(
    "changed", [{"device": "cpu"}, {"placement": "ray"}, {"checkpoint_every": 3}, {"prefetch": "on"}]
)
def test_where_it_runs_and_how_it_is_watched_is_the_same_artifact(changed: dict) -> None:
    assert fingerprint(**changed) == fingerprint()
