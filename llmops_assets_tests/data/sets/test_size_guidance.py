import pytest

from llmops_assets.data.sets.size_guidance import GUIDANCE, size_remark


@pytest.mark.parametrize(("asset", "least"), [("corpus", 10_000_000), ("sft_set", 10_000), ("preference_set", 100)])
def test_below_the_range_the_number_the_range_and_what_to_do_are_said(asset: str, least: int) -> None:
    below, at = size_remark(asset, least - 1), size_remark(asset, least)
    assert (below.enough, at.enough) == (False, True)
    assert f"{least - 1:,}" in below.sentence and GUIDANCE[asset].range_text in below.sentence
    assert GUIDANCE[asset].too_few in below.sentence


def test_above_the_range_is_a_remark_and_no_warning() -> None:
    remark = size_remark("preference_set", 60_000)
    assert remark.enough and "more than guides name" in remark.sentence
