"""Pairs of data sets: what is kept, and what is left out with which reason."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmops_assets.data.quarantine import Quarantine, QuarantineLimitError
from llmops_assets.data.sets.preference_pairs import PairIntake, read_pairs, without_leaking_pairs
from llmops_assets.data.sources.file_sources import MissingSourceError
from llmops_assets.data.sources.named_sets import NAMED_SETS, resolved
from llmops_assets.data.sources.reading import license_of
from llmops_assets.data.sources.specs import (
    HubConversationsSource,
    HubEvalSource,
    HubPreferencesSource,
    HubTextSource,
    PreferenceFilesSource,
)

# One question with three answers.
_NODES = {
    "q": {"parent": None, "children": ["a", "b", "c"], "message": ("user", "Why?")},
    **{name: {"parent": "q", "children": [], "message": ("assistant", f"{name}.")} for name in "abc"},
}
EXPORT = {
    "current_node": "c",
    "mapping": {
        name: node
        | {
            "message": {
                "author": {"role": node["message"][0]},
                "content": {"content_type": "text", "parts": [node["message"][1]]},
            }
        }
        for name, node in _NODES.items()
    },
}


def pair(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def read(folder: Path, *records: dict[str, Any]) -> PairIntake:
    (folder / "pairs.json").write_text(json.dumps(list(records), indent=0), encoding="utf-8")
    source = PreferenceFilesSource(name="pairs", pattern="pairs.json", license="MIT")
    return read_pairs([source], folder, ["<|im_end|>"])


def test_pairs_are_kept_once_and_contradictions_not_at_all(tmp_path: Path) -> None:
    intake = read(
        tmp_path,
        pair("A?", "Good and long.", "Bad."),
        pair("a? ", "good and long.", "BAD."),
        pair("B?", "One.", "Two."),
        pair("B?", "Two.", "One."),
        pair("C?", "One.", "One."),
        {"prompt": "D?"},
    )
    assert [(p.prompt[0].content, p.source, p.origin) for p in intake.kept] == [("A?", "pairs", "pairs.json:2")]
    assert intake.summary() == {
        "pairs": {"pairs": 1},
        "chosen_is_longer": {"pairs": 1.0},
        "margins": {},
        "read": {"pairs": 6},
        "formats": {"pairs": {"prompt": 4}},
        "licenses": {"pairs": "MIT"},
        "quarantined": {"contradiction": 2, "exact_duplicate": 1, "same_answers": 1, "unknown_format": 1},
        "quarantined_by_source": {
            "pairs": {"contradiction": 2, "exact_duplicate": 1, "same_answers": 1, "unknown_format": 1}
        },
    }
    [broken] = [record for record in intake.quarantine.records if record.reason.is_malformed]
    assert (broken.origin_file, broken.line) == ("pairs.json", 27)


def test_a_record_of_several_pairs_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text(json.dumps([EXPORT, {"mapping": 1}]))
    source = PreferenceFilesSource(name="export", pattern="export.json", format="chatgpt")
    intake = read_pairs([source], tmp_path, [])
    assert len(intake.kept) > 1 and intake.quarantine.read["export"] == 2
    with pytest.raises(QuarantineLimitError, match="1 of 2 records"):
        intake.quarantine.check(0.4, where="preferences.data_sets")


def test_score_margins_of_a_source_are_those_of_its_scored_pairs(tmp_path: Path) -> None:
    scored = [{**pair(f"{i}?", "Yes.", "No."), "score_chosen": 5 + i, "score_rejected": 4} for i in range(3)]
    intake = read(tmp_path, *scored, pair("D?", "One.", "Two."))
    assert intake.summary()["margins"] == {"pairs": {"n": 3, "min": 1, "median": 2, "max": 3}}


def test_chat_markers_are_taken_apart_everywhere(tmp_path: Path) -> None:
    intake = read(tmp_path, pair("A<|im_end|>?", "B<|im_end|>", "C<|im_start|>"))
    assert "<|" not in json.dumps(intake.kept[0].to_row())


def test_named_sets_bring_their_hub_id_split_and_licence() -> None:
    ultrachat = resolved(HubConversationsSource(name="chat", dataset="ultrachat"))
    assert (ultrachat.dataset, ultrachat.split) == ("HuggingFaceH4/ultrachat_200k", "train_sft")
    assert resolved(ultrachat.model_copy(update={"dataset": "ultrachat", "split": "test"})).split == "test_sft"
    assert resolved(HubEvalSource(name="chat", dataset="ultrachat")).split == "test_sft"
    assert license_of(HubPreferencesSource(name="orca", dataset="orca_dpo")) == "Apache-2.0"
    own = HubConversationsSource(name="own", dataset="owner/own")
    assert resolved(own) is own


@pytest.mark.parametrize("name", sorted(NAMED_SETS))
def test_named_sets_are_refused_where_they_do_not_belong(name: str) -> None:
    wrong = HubConversationsSource if NAMED_SETS[name].purpose == "preferences" else HubPreferencesSource
    section = "preferences.data_sets.sources" if NAMED_SETS[name].purpose == "preferences" else "sft_set.sources"
    with pytest.raises(MissingSourceError, match=f"{name} is a set for .*belongs in {section}"):
        resolved(wrong(name="x", dataset=name))
    with pytest.raises(MissingSourceError):
        resolved(HubTextSource(name="x", dataset=name))


def test_pairs_that_hold_an_eval_item_are_not_trained_on(tmp_path: Path) -> None:
    item = {
        "id": "x/1",
        "prompt": "",
        "answers": ["Words of an item."],
        "layout": "text",
        "source": "x",
        "origin": "x:1",
    }
    (tmp_path / "items.jsonl").write_text(json.dumps(item) + "\n")
    pairs = read(tmp_path, pair("A?", "So.", "words of an item"), pair("B?", "So.", "No.")).kept
    quarantine = Quarantine()
    assert without_leaking_pairs(pairs, tmp_path / "items.jsonl", quarantine) == [pairs[1]]
    assert [(r.source, r.origin_file, r.line, str(r.reason)) for r in quarantine.records] == [
        ("pairs", "pairs.json", 2, "contaminated"),
    ]
    assert "holds eval item x/1" in next(quarantine.records).detail
