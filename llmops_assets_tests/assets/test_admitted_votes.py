"""What leaves a preference set before a rater's share is cut counts towards no share."""

import json
from collections import Counter
from pathlib import Path

from llmops_assets.assets.preference_set_files import admitted_votes
from llmops_assets.data.evals.eval_sets import ITEMS_FILE, EvalSetsSpec, build_eval_sets
from llmops_assets.data.sources.specs import EvalFilesSource
from llmops_assets.feedback.records import Message, PairSelection, PreferencePair
from llmops_assets.feedback.specs import PreferenceSetSpec


def question(number: int) -> str:
    return f"What does the function number {number} of the module named number {number} return when it is called?"


def pair(number: int, rater: str) -> PreferencePair:
    return PreferencePair(
        **{key: f"{key} {number}" for key in ("pair_id", "battle_id", "vote_id")},
        seq=number,
        prompt=[Message(role="user", content=question(number))],
        chosen="A good answer.",
        rejected="A bad one.",
        chosen_version="a",
        rejected_version="b",
        rater_id=rater,
        rater_kind="human",
        chosen_side="left",
    )


def test_a_rater_keeps_its_share_of_what_holds_no_eval_item(tmp_path: Path) -> None:
    votes = [pair(number, "busy") for number in range(30)]
    votes += [pair(number, rater) for start, rater in ((30, "ann"), (40, "bob")) for number in range(start, start + 10)]
    # All but ten of the busy rater's prompts are eval items.
    items = [{"question": question(number), "answer": f"It is {number}."} for number in range(20)]
    (tmp_path / "evals.json").write_text(json.dumps(items))
    spec = EvalSetsSpec(sources=[EvalFilesSource(name="own", pattern="evals.json")])
    build_eval_sets(spec, tmp_path, tmp_path)
    settings = PreferenceSetSpec(sealed_share=0.01, max_share_per_rater=0.4)
    selection = admitted_votes(
        PairSelection(pairs=votes, left_out=[], through_seq=50), settings, "lane", tmp_path / ITEMS_FILE
    )
    left_out = Counter(vote.reason for vote in selection.left_out)
    assert left_out["contaminated"] >= 18, "a prompt or two may be sealed"
    remaining = Counter(vote.rater_id for vote in selection.pairs)
    assert remaining["ann"] == remaining["bob"] == 10
    assert max(remaining.values()) <= 0.4 * remaining.total()
    assert left_out["rater_over_share"] == 30 - left_out["contaminated"] - remaining["busy"] <= 2
