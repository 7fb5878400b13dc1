import numpy as np
import pytest

from llmops_assets.data.corpus.balance import UnbalancedSourcesError, beyond_limit, token_limits
from llmops_assets.data.specs import CorpusSpec

TOKENS = {"web": 8000, "books": 1000, "code": 1000}


def _limits(tokens: dict[str, int] | None = None, **keys: float) -> dict[str, int]:
    limits = token_limits(tokens or TOKENS, CorpusSpec.model_validate(keys))
    return {name: round(limit) for name, limit in limits.items()}


def test_sources_keep_all_without_a_key() -> None:
    assert _limits() == TOKENS


@pytest.mark.parametrize(("temperature", "web"), [(1, 8000), (2, 2828), (3, 2000)])
def test_temperature_flattens_shares_and_the_scarcest_source_keeps_all(temperature: float, web: int) -> None:
    assert _limits(source_temperature=temperature) == {"web": web, "books": 1000, "code": 1000}


def test_a_cap_in_tokens_holds_for_each_source() -> None:
    assert _limits(max_source_tokens=500) == {"web": 500, "books": 500, "code": 500}


@pytest.mark.parametrize("share", [0.5, 0.4, 0.35, 1 / 3])
def test_no_source_has_more_than_its_share_of_what_is_left(share: float) -> None:
    limits = token_limits({"web": 8000, "books": 3000, "code": 1000}, CorpusSpec(max_source_share=share))
    total = sum(limits.values())
    assert max(limits.values()) <= share * total * (1 + 1e-6)
    assert limits["code"] == pytest.approx(1000)
    assert limits["web"] == pytest.approx(share * total)


def test_a_share_that_too_few_sources_can_have_is_an_error_that_says_which_would_do() -> None:
    with pytest.raises(UnbalancedSourcesError, match=r"max_source_share = 0.3 cannot hold: 3 sources.*0.34 or more"):
        _limits(max_source_share=0.3)
    assert _limits(max_source_share=0.34)


def test_a_source_without_tokens_has_no_limit_and_counts_for_no_share() -> None:
    assert _limits({"web": 100, "none": 0}, source_temperature=5) == {"web": 100, "none": 0}


def test_documents_beyond_a_limit_are_drawn_and_those_that_still_fit_stay() -> None:
    chance = np.random.default_rng(3)
    tokens, lots = chance.integers(1, 50, 200), chance.random(200)
    for limit in (500, 1000, 2000):
        beyond = beyond_limit(tokens, lots, limit)
        assert limit - 50 < tokens[~beyond].sum() <= limit
    assert not beyond_limit(tokens, lots, 1e9).any()
    assert beyond_limit(np.array([500, 10, 10]), np.array([0.1, 0.2, 0.3]), 100).tolist() == [True, False, False]
