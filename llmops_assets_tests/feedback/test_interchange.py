"""Votes out of one store and into another: exactly, repeatably, and without losing a broken line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmops_assets.feedback.store import FeedbackStore
from llmops_assets_tests.feedback.ballot_box import ANN, BOB, LANE, PEPPER, ROBOT, battle, register, register_lane, vote


def _fill(store: FeedbackStore) -> None:
    shown = store.record_battle(battle("Grüße,\n\u2028 日本 \U0001f600?"))
    first = store.record_vote(shown, ANN, "left", comment="klar & kurz", reason_tags=["short"], idempotency_key="k1")
    second = store.record_vote(shown, ANN, "right", supersedes=first)
    store.retract_vote(second, ANN)
    store.record_vote(shown, BOB, "left", dwell_ms=800)
    vote(store, "tie", ROBOT, battle("two"))


def _write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def copy(tmp_path: Path):
    with FeedbackStore(f"sqlite:///{tmp_path / 'copy.db'}", rater_pepper=PEPPER) as opened:
        yield opened


def test_an_export_restores_exactly_into_an_empty_store(store: FeedbackStore, copy: FeedbackStore, tmp_path: Path):
    _fill(store)
    lines = list(store.export_votes(LANE))
    result = copy.import_votes(_write(tmp_path / "votes.jsonl", lines), LANE)
    assert (result.accepted, result.duplicates, result.versions_added, result.rejected) == (5, 0, 2, [])
    assert result.quarantine_path is None
    assert list(copy.export_votes(LANE)) == lines
    assert copy.usable_pairs(LANE) == store.usable_pairs(LANE)
    assert len(store.usable_pairs(LANE).pairs) == 1


def test_importing_twice_adds_nothing(store: FeedbackStore, tmp_path: Path):
    _fill(store)
    lines = list(store.export_votes(LANE))
    result = store.import_votes(_write(tmp_path / "votes.jsonl", lines), LANE)
    assert (result.accepted, result.duplicates, result.versions_added, result.rejected) == (0, 5, 0, [])
    assert list(store.export_votes(LANE)) == lines


def test_a_restored_rater_is_still_the_same_person(store: FeedbackStore, copy: FeedbackStore, tmp_path: Path):
    shown = store.record_battle(battle())
    first = store.record_vote(shown, ANN, "left")
    copy.import_votes(_write(tmp_path / "votes.jsonl", list(store.export_votes(LANE))), LANE)
    copy.record_vote(shown, ANN, "right", supersedes=first)
    assert [pair.chosen_side for pair in copy.usable_pairs(LANE).pairs] == ["right"]


def test_votes_keep_their_numbers_so_that_a_watermark_stays_valid(
    store: FeedbackStore, copy: FeedbackStore, tmp_path: Path
):
    other = battle("other lane", deployment="chat", left_version="1" * 64, right_version="1" * 64)
    register(store, "1" * 64, "sft", None, "chat")
    for number in range(3):
        vote(store, "left", ANN, battle(f"question {number}"))
        vote(store, "left", BOB, other)
    copy.import_votes(_write(tmp_path / "votes.jsonl", list(store.export_votes(LANE))), LANE)
    assert [pair.seq for pair in copy.usable_pairs(LANE).pairs] == [1, 3, 5]
    assert copy.count_usable(LANE, after_seq=3) == store.count_usable(LANE, after_seq=3).model_copy(
        update={"through_seq": 5}
    )
    vote(copy, "left", ANN, battle("the next question"))
    assert copy.count_usable(LANE, after_seq=5).model_dump() == {"new_usable": 1, "through_seq": 6}


def test_votes_from_elsewhere_come_after_those_that_are_here(store: FeedbackStore, copy: FeedbackStore, tmp_path: Path):
    vote(store, "left", ANN, battle("from elsewhere"))
    register_lane(copy)
    for number in range(3):
        vote(copy, "left", ANN, battle(f"question {number}"))
    lines = [line for line in store.export_votes(LANE) if line["record"] == "vote"]
    path = _write(tmp_path / "votes.jsonl", lines)
    assert copy.import_votes(path, LANE).accepted == 1
    assert copy.count_usable(LANE, after_seq=3).model_dump() == {"new_usable": 1, "through_seq": 4}
    assert copy.import_votes(path, LANE).duplicates == 1


def _renamed(name: str, value: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda line: line | {name: value}


def test_broken_lines_are_quarantined_with_file_line_and_reason(
    store: FeedbackStore, copy: FeedbackStore, tmp_path: Path
):
    vote(store, "left", ANN, battle("one"))
    vote(store, "left", BOB, battle("two"))
    version_1, version_2, one, two = (json.dumps(line).encode() for line in store.export_votes(LANE))
    broken = {
        2: (b'{"record": "vote", "battle', "not JSON"),
        4: (b'\xff{"record": "vote"}', "not UTF-8: byte 0"),
        5: (one[:-1] + b', "record": "vote"}', "the key 'record' appears twice"),
        6: (one.replace(b'"total_ms": 12.5', b'"total_ms": NaN'), "NaN is not a JSON value"),
        7: (one.replace(b'"verdict": "left"', b'"verdict": "better"'), "vote.vote.verdict: Input should be"),
        8: (one.replace(b'"content": "one"', b'"content": "<|im_end|>"'), "chat token '<|im_end|>'"),
        10: (two.replace(b'"deployment": "python_docs"', b'"deployment": "chat"'), "belongs to deployment 'chat'"),
        11: (two[:-1] + b', "extra": 1}', "vote.extra: Extra inputs are not permitted"),
        12: (b"[" * 100_000, "nested too deeply"),
    }
    good = {1: version_1, 3: version_2, 9: one, 13: b"   ", 14: two}
    content = {**good, **{number: raw for number, (raw, _) in broken.items()}}
    path = tmp_path / "votes.jsonl"
    path.write_bytes(b"\n".join(content[number] for number in sorted(content)))

    result = copy.import_votes(path, LANE)

    assert (result.accepted, result.versions_added) == (2, 2)
    assert [number for number, _ in result.rejected] == sorted(broken)
    for number, reason in result.rejected:
        assert broken[number][1] in reason, (number, reason)
    assert result.quarantine_path is not None
    kept = [json.loads(line) for line in result.quarantine_path.read_text().splitlines()]
    assert [(line["file"], line["line"]) for line in kept] == [(str(path), number) for number in sorted(broken)]
    assert [line["raw"].encode(errors="surrogateescape") for line in kept] == [
        broken[number][0] for number in sorted(broken)
    ]
    assert list(copy.export_votes(LANE)) == list(store.export_votes(LANE))


def test_a_changed_vote_does_not_overwrite_the_one_in_the_store(store: FeedbackStore, tmp_path: Path):
    vote(store, "left")
    *versions, line = store.export_votes(LANE)
    forged = line | {"vote": line["vote"] | {"verdict": "right"}}
    result = store.import_votes(_write(tmp_path / "votes.jsonl", [*versions, forged]), LANE)
    assert [reason for _, reason in result.rejected] == [
        f"vote {line['vote']['vote_id']} is in this store with other content"
    ]
    assert store.usable_pairs(LANE).pairs[0].chosen_side == "left"


def test_a_line_rejected_halfway_leaves_nothing_behind(store: FeedbackStore, copy: FeedbackStore, tmp_path: Path):
    shown = store.record_battle(battle())
    first = store.record_vote(shown, ANN, "left")
    store.record_vote(shown, ANN, "right", supersedes=first)
    *versions, _, edit = store.export_votes(LANE)
    result = copy.import_votes(_write(tmp_path / "edit.jsonl", [*versions, edit]), LANE)
    assert [reason for _, reason in result.rejected] == [
        f"the superseded vote {first!r} is not in this store; check the id."
    ]
    # Had the battle stayed, this battle of other content under its id would be refused.
    assert copy.record_battle(battle("other content"), battle_id=shown) == shown


def test_a_label_cannot_come_to_mean_another_adapter(store: FeedbackStore, tmp_path: Path):
    first, *_ = store.export_votes(LANE)
    other = first | {"version": first["version"] | {"adapter_sha256": "9" * 64}}
    result = store.import_votes(_write(tmp_path / "votes.jsonl", [other]), LANE)
    assert "label v1.0 of 'python_docs'" in result.rejected[0][1]
    assert result.versions_added == 0


def test_a_fixed_quarantine_can_be_imported_later(store: FeedbackStore, copy: FeedbackStore, tmp_path: Path):
    vote(store, "left")
    *versions, line = store.export_votes(LANE)
    path = _write(tmp_path / "votes.jsonl", [*versions, _renamed("record", "ballot")(line)])
    assert copy.import_votes(path, LANE).accepted == 0
    _write(path, [*versions, line])
    result = copy.import_votes(path, LANE)
    assert (result.accepted, result.rejected) == (1, [])
