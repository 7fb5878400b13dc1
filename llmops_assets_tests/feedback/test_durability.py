"""What is recorded stays: append-only, several writers, killed processes, unreachable databases."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError

from llmops_assets.errors import LlmopsError
from llmops_assets.feedback import schema
from llmops_assets.feedback.database import Database
from llmops_assets.feedback.errors import (
    StoreUnavailable,
)
from llmops_assets.feedback.records import Rater
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets_tests.feedback.ballot_box import ANN, LANE, PEPPER, battle, register_lane, vote


@pytest.mark.parametrize("change", ["UPDATE {table} SET deployment = 'other'", "DELETE FROM {table}"])
@pytest.mark.parametrize("table", ["vote", "battle"])
def test_the_database_itself_refuses_to_change_or_delete(store: FeedbackStore, store_url: str, table: str, change: str):
    vote(store, "left")
    database = Database(store_url)
    with (
        pytest.raises((DBAPIError, StoreUnavailable), match=f"{table} is append-only"),
        database.write() as connection,
    ):
        connection.execute(text(change.format(table=table)))
    database.close()
    assert len(store.usable_pairs(LANE).pairs) == 1


def test_a_fork_in_a_rater_s_votes_is_impossible_even_behind_the_store(store: FeedbackStore, store_url: str):
    vote(store, "left")
    database = Database(store_url)
    with pytest.raises(DBAPIError), database.write() as connection:
        row = connection.execute(select(schema.vote)).mappings().one()
        connection.execute(insert(schema.vote).values({**row, "seq": 99, "id": "second"}))
    database.close()


def test_concurrent_writers_lose_nothing_and_leave_no_gap(store: FeedbackStore):
    per_thread, failures = 12, []

    def write(number: int) -> None:
        try:
            for turn in range(per_thread):
                vote(store, "left", Rater(subject=f"r{number}", kind="human"), battle(f"question {number} {turn}"))
        except LlmopsError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    pairs = store.usable_pairs(LANE).pairs
    assert sorted(pair.seq for pair in pairs) == list(range(1, 4 * per_thread + 1))


def test_one_of_many_simultaneous_clicks_is_recorded(store: FeedbackStore):
    shown = store.record_battle(battle())
    recorded: list[str] = []
    clicks = [
        threading.Thread(target=lambda: recorded.append(store.record_vote(shown, ANN, "left", idempotency_key="k")))
        for _ in range(6)
    ]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join()
    assert len(recorded) == 6
    assert len(set(recorded)) == 1
    assert store.usable_pairs(LANE).votes == 1


def test_several_processes_can_open_a_new_store_at_once(store_url: str):
    program = "import sys; from llmops_assets.feedback.store import FeedbackStore; FeedbackStore(sys.argv[1]).close()"
    openers = [
        subprocess.Popen([sys.executable, "-c", program, store_url], stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [(opener.communicate(timeout=60)[1], opener.returncode) for opener in openers] == [("", 0)] * 4
    with FeedbackStore(store_url, rater_pepper=PEPPER) as store:
        register_lane(store)
        vote(store, "left")
        assert store.count_usable(LANE, after_seq=0).new_usable == 1


_WRITER = """
import sys
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets_tests.feedback.ballot_box import ANN, PEPPER, battle, register_lane, vote
store = FeedbackStore(sys.argv[1], rater_pepper=PEPPER)
register_lane(store)
for number in range(100_000):
    print(vote(store, "left", ANN, battle(f"question {number}")), flush=True)
"""


def test_acknowledged_votes_survive_a_killed_writer(store_url: str):
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, store_url], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = [writer.stdout.readline().strip() for _ in range(25)]
    os.kill(writer.pid, signal.SIGKILL)
    acknowledged += writer.stdout.read().split("\n")[:-1]
    writer.stdout.close()
    assert writer.wait(timeout=20) == -signal.SIGKILL
    assert "" not in acknowledged, "the writer ended before it was killed"
    with FeedbackStore(store_url, rater_pepper=PEPPER) as store:
        kept = [pair.vote_id for pair in store.usable_pairs(LANE).pairs]
        assert kept[: len(acknowledged)] == acknowledged
        vote(store, "left", ANN, battle("the next question"))
        assert store.count_usable(LANE, after_seq=0).new_usable == len(kept) + 1


def test_an_unreachable_server_is_one_clear_error_without_the_password():
    with pytest.raises(StoreUnavailable, match="feedback store postgresql") as caught:
        FeedbackStore("postgresql://me:secret@127.0.0.1:9/none")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://host/db", "sqlite://", "sqlite:///:memory:", "no url"])
def test_other_databases_are_refused(url: str):
    with pytest.raises(StoreUnavailable):
        FeedbackStore(url)
