"""Who voted: hashed, private, erasable."""

import stat
from pathlib import Path

import pytest

from llmops_assets.feedback.errors import (
    RaterPepperMissing,
    VoteRefused,
)
from llmops_assets.feedback.records import Rater
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets_tests.feedback.ballot_box import ANN, LANE, PEPPER, battle, register_lane, vote


def test_an_anonymous_vote_is_kept_but_never_trains(store: FeedbackStore):
    vote(store, "left", Rater(subject="ann", kind="human", trust="anonymous"))
    assert store.usable_pairs(LANE).excluded == {"rater_anonymous": 1}
    vote(store, "left", ANN)
    assert len(store.usable_pairs(LANE).pairs) == 1


def test_an_erased_rater_leaves_no_words_and_no_pairs(sqlite_url: str):
    with FeedbackStore(sqlite_url, rater_pepper=PEPPER) as store:
        register_lane(store)
        shown = store.record_battle(battle())
        store.record_vote(shown, ANN, "left", comment="my very own remark")
        assert store.erase_rater(ANN) == 1
        assert store.usable_pairs(LANE).excluded == {"rater_erased": 1}
        assert [line["record"] for line in store.export_votes(LANE)] == ["version", "version"]
        with pytest.raises(VoteRefused, match="asked to be erased"):
            vote(store, "left", ANN)
        database = Path(sqlite_url.removeprefix("sqlite:///"))
        for file in database.parent.iterdir():
            assert b"very own remark" not in file.read_bytes(), file


def test_subjects_are_not_in_the_database(sqlite_url: str):
    with FeedbackStore(sqlite_url) as store:
        register_lane(store)
        vote(store, "left", Rater(subject="ann.smith@example.org", kind="human"))
    folder = Path(sqlite_url.removeprefix("sqlite:///")).parent
    assert not [file for file in folder.iterdir() if b"ann.smith" in file.read_bytes()]


def test_the_pepper_is_made_once_private_and_never_replaced(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LLMOPS_RATER_PEPPER", raising=False)
    secret = Path(sqlite_url.removeprefix("sqlite:///") + ".pepper")
    with FeedbackStore(sqlite_url) as store:
        register_lane(store)
        vote(store, "left")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    with FeedbackStore(sqlite_url) as store:
        vote(store, "left", ANN, battle("another question"))
        assert len({pair.rater_id for pair in store.usable_pairs(LANE).pairs}) == 1
    secret.unlink()
    with FeedbackStore(sqlite_url) as store, pytest.raises(RaterPepperMissing, match="Restore"):
        vote(store, "left")


def test_postgresql_needs_a_configured_pepper(empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LLMOPS_RATER_PEPPER", raising=False)
    with FeedbackStore(empty_postgres_url) as store:
        register_lane(store)
        with pytest.raises(RaterPepperMissing, match="LLMOPS_RATER_PEPPER"):
            vote(store, "left")


def test_a_short_pepper_is_refused(sqlite_url: str):
    with pytest.raises(RaterPepperMissing, match="5 bytes"):
        FeedbackStore(sqlite_url, rater_pepper=b"salt!")
