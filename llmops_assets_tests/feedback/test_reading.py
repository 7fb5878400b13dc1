"""Counting and selecting: exact, incremental, and by index."""

import random

import pytest
from sqlalchemy import create_engine, func, select, text

from llmops_assets.feedback import reading, schema
from llmops_assets.feedback.database import Database
from llmops_assets.feedback.errors import (
    WatermarkAhead,
)
from llmops_assets.feedback.records import Rater, Verdict
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets_tests.feedback.ballot_box import ANN, BOB, LANE, PEPPER, ROBOT, battle, register, register_lane, vote


def test_counting_equals_the_difference_of_two_selections(store: FeedbackStore):
    """The incremental count is checked against full selections at every watermark of a random history."""
    chance = random.Random(3)
    raters = [ANN, BOB, Rater(subject="cid", kind="human", trust="anonymous"), ROBOT]
    verdicts: list[Verdict] = ["left", "right", "left", "right", "tie"]
    shown: list[str] = []
    last: dict[tuple[str, str], str] = {}
    history: dict[int, set[str]] = {0: set()}
    for _ in range(60):
        if len(shown) < 3 or chance.random() < 0.3:
            texts = chance.sample(["one", "two", "three"], 2)
            shown.append(store.record_battle(battle(f"question {chance.randrange(4)}", *texts)))
        battle_id, rater = chance.choice(shown), chance.choice(raters)
        key = battle_id, f"{rater.subject}{rater.trust}"
        if key in last and chance.random() < 0.3:
            last[key] = store.retract_vote(last[key], rater)
        else:
            last[key] = store.record_vote(battle_id, rater, chance.choice(verdicts), supersedes=last.get(key))
        selection = store.usable_pairs(LANE)
        history[selection.through_seq] = {pair.pair_id for pair in selection.pairs}
    usable_now = history[max(history)]
    assert usable_now
    counts = {seq: store.count_usable(LANE, after_seq=seq) for seq in history}
    assert {seq: count.new_usable for seq, count in counts.items()} == {
        seq: len(usable_now - usable) for seq, usable in history.items()
    }
    assert {count.through_seq for count in counts.values()} == {max(history)}
    rewound = {seq: {pair.pair_id for pair in store.usable_pairs(LANE, through_seq=seq).pairs} for seq in history}
    assert rewound == history


def test_every_vote_is_a_pair_or_has_a_reason(store: FeedbackStore):
    for verdict in ("left", "tie", "both_bad", "skip"):
        vote(store, verdict, ANN, battle(question=f"question for {verdict}"))
    selection = store.usable_pairs(LANE)
    assert selection.excluded == {"tie": 1, "both_bad": 1, "skip": 1}
    assert len(selection.pairs) + sum(selection.excluded.values()) == 4


def test_votes_of_one_deployment_do_not_count_for_another(store: FeedbackStore):
    register(store, "1" * 64, "sft", None, "chat")
    vote(store, "left", ANN, battle(deployment="chat", left_version="1" * 64, right_version="1" * 64))
    assert store.count_usable(LANE, after_seq=0).model_dump() == {"new_usable": 0, "through_seq": 0}
    assert store.count_usable("chat", after_seq=0).new_usable == 1


def test_a_watermark_of_another_store_is_an_error_not_a_wait_for_ever(store: FeedbackStore):
    vote(store, "left")
    with pytest.raises(WatermarkAhead, match="the watermark is vote 500"):
        store.count_usable(LANE, after_seq=500)


def test_counting_never_scans_votes_or_battles(sqlite_url: str):
    with FeedbackStore(sqlite_url, rater_pepper=PEPPER) as store:
        register_lane(store)
        vote(store, "left")
    queries = [reading.touched_comparisons(LANE, 5), reading.votes_on_comparisons(LANE, ["k1", "k2"])]
    engine = create_engine(sqlite_url)
    with engine.connect() as connection:
        for query in queries:
            sql = str(query.compile(engine, compile_kwargs={"literal_binds": True}))
            plan = [row.detail for row in connection.execute(text(f"EXPLAIN QUERY PLAN {sql}"))]
            assert not [step for step in plan if step.startswith("SCAN")], plan
            assert any("ix_vote_" in step for step in plan), plan
    engine.dispose()


def test_the_vote_table_holds_what_the_report_counts(store: FeedbackStore, store_url: str):
    vote(store, "left")
    vote(store, "tie", BOB)
    database = Database(store_url)
    with database.read() as connection:
        stored = connection.execute(select(func.count()).select_from(schema.vote)).scalar_one()
    database.close()
    assert stored == store.usable_pairs(LANE).votes == 2
