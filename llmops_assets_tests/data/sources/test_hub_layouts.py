"""Every public set that has a name, read through `datasets` from a fixture in its exact layout."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from datasets import Dataset, Features, Image, Value

from llmops_assets.data.formats.preferences import Comparison
from llmops_assets.data.records import Conversation, Document, QuarantinedRecord, Reason, row_hash
from llmops_assets.data.sources.file_sources import MissingSourceError
from llmops_assets.data.sources.named_sets import NAMED_SETS
from llmops_assets.data.sources.reading import read_corpus_source, read_preference_source, read_sft_source, source_hash
from llmops_assets.data.sources.specs import HubConversationsSource, HubPreferencesSource, HubTextSource
from llmops_assets.data.splits import pick


def turns(answer: str) -> list[dict[str, str]]:
    return [{"content": "Why?", "role": "user"}, {"content": answer, "role": "assistant"}]


# Two good rows of each, which say that the answer to "Why?" is "So." and that "No." is worse; then a bad one.
ROWS: dict[str, list[dict[str, Any]]] = {
    "alpaca": [
        {"instruction": "Why?", "input": "", "output": "So.", "text": "Below is an instruction ..."},
        {"instruction": "Why?", "input": "It rains.", "output": "So.", "text": "Below is an instruction ..."},
        {"instruction": "", "input": "", "output": "So.", "text": ""},
    ],
    "alpaca_cleaned": [
        {"output": "So.", "input": "", "instruction": "Why?"},
        {"output": "So.", "input": "It rains.", "instruction": "Why?"},
        {"output": "", "input": "", "instruction": "Why?"},
    ],
    "dolly": [
        {"instruction": "Why?", "context": "", "response": "So.", "category": "open_qa"},
        {"instruction": "Why?", "context": "It rains.[1]", "response": "So.[2]", "category": "closed_qa"},
        {"instruction": "Why?", "context": "", "response": "", "category": "open_qa"},
    ],
    "ultrachat": [
        {"prompt": "Why?", "prompt_id": "0a", "messages": turns("So.")},
        {"prompt": "Why?", "prompt_id": "0b", "messages": turns("So.") * 2},
        {"prompt": "Why?", "prompt_id": "0c", "messages": []},
    ],
    "slimorca": [
        {"conversations": [
            {"from": "system", "value": "Think.", "weight": None},
            {"from": "human", "value": "Why?", "weight": 0.0},
            {"from": "gpt", "value": "So.", "weight": 1.0},
        ]},
        {"conversations": [
            {"from": "human", "value": "Why?", "weight": 0.0},
            {"from": "gpt", "value": "So.", "weight": 1.0},
        ]},
        {"conversations": [{"from": "human", "value": "Why?", "weight": 0.0}]},
    ],
    "ultrafeedback": [
        {
            "source": "sharegpt",
            "prompt": "Why?",
            "chosen": turns("So."),
            "chosen-rating": rating,
            "chosen-model": "a",
            "rejected": turns("No."),
            "rejected-rating": 3.0,
            "rejected-model": "b",
        }
        for rating in (5.0, 4.5, 3.0)
    ],
    "hh_rlhf": [
        {"chosen": "\n\nHuman: Why?\n\nAssistant: So.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."},
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Why?\n\nAssistant: So.",
            "rejected": "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Why?\n\nAssistant: No.",
        },
        {"chosen": "\n\nHuman: Why?\n\nAssistant: So.", "rejected": "\n\nHuman: How?\n\nAssistant: No."},
    ],
    "orca_dpo": [
        {"system": "", "question": "Why?", "chosen": "So.", "rejected": "No."},
        {"system": "Think.", "question": "Why?", "chosen": "So.", "rejected": "No."},
        {"system": "", "question": "Why?", "chosen": "So.", "rejected": "So."},
    ],
}  # fmt: skip
LAYOUTS = {
    **{"alpaca": "alpaca", "alpaca_cleaned": "alpaca", "dolly": "dolly", "ultrachat": "messages"},
    **{"slimorca": "sharegpt", "ultrafeedback": "transcripts", "hh_rlhf": "transcripts", "orca_dpo": "question"},
}
BAD = {
    **{"alpaca": Reason.EMPTY, "alpaca_cleaned": Reason.EMPTY, "dolly": Reason.EMPTY, "ultrachat": Reason.EMPTY},
    **{"slimorca": Reason.BAD_TURN_ORDER, "ultrafeedback": Reason.TIE, "hh_rlhf": Reason.DIFFERENT_PROMPTS},
    "orca_dpo": Reason.SAME_ANSWERS,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return tmp_path


def write(folder: Path, name: str) -> str:
    write_rows(folder, ROWS[name])
    return "set"


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "set").mkdir()
    (folder / "set" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def picked(rows: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    return pick(rows, count, seed=0, key=row_hash)


def test_every_named_set_has_a_fixture() -> None:
    assert set(ROWS) == set(LAYOUTS) == set(BAD) == set(NAMED_SETS)


@pytest.mark.parametrize("name", [name for name, known in NAMED_SETS.items() if known.purpose == "sft"])
def test_sets_of_conversations(folder: Path, name: str) -> None:
    source = HubConversationsSource(name=name, dataset=write(folder, name))
    *good, bad = read_sft_source(source, folder)
    for record in good:
        assert isinstance(record, Conversation)
        assert record.layout == LAYOUTS[name]
        assert record.messages[-2].content.startswith("Why?") and record.messages[-1].content == "So."
        assert all(message.trained for message in record.messages)
    assert len(good) == 2
    assert isinstance(bad, QuarantinedRecord) and (bad.reason, bad.line) == (BAD[name], 3)


@pytest.mark.parametrize("name", [name for name, known in NAMED_SETS.items() if known.purpose == "preferences"])
def test_sets_of_preferences(folder: Path, name: str) -> None:
    source = HubPreferencesSource(name=name, dataset=write(folder, name))
    *good, bad = read_preference_source(source, folder)
    for number, record in enumerate(good, start=1):
        assert isinstance(record, tuple) and isinstance(record[1], Comparison)
        assert record[0] == f"set/train:{number}"
        assert (record[1].chosen, record[1].rejected, record[1].layout) == ("So.", "No.", LAYOUTS[name])
        assert record[1].prompt[-1].content == "Why?"
    assert len(good) == 2
    assert isinstance(bad, QuarantinedRecord) and (bad.reason, bad.line) == (BAD[name], 3)


def test_rows_are_drawn_by_hash_whatever_else_they_hold(folder: Path) -> None:
    source = HubConversationsSource(name="chat", dataset=write(folder, "ultrachat"), max_records=1)
    assert len(list(read_sft_source(source, folder))) == 1


def test_copies_of_a_row_take_no_place_among_those_drawn(folder: Path) -> None:
    texts = [*["Again."] * 50, *(f"Text {number}." for number in range(50))]
    write_rows(folder, [{"text": text} for text in texts])
    source = HubTextSource(name="web", dataset="set", max_records=20)
    drawn = [record.text for record in read_corpus_source(source, folder) if isinstance(record, Document)]
    assert len(set(drawn)) == len(drawn) == 20


def test_of_a_large_set_no_more_is_held_than_is_drawn(folder: Path) -> None:
    write_rows(folder, [{"text": f"Text {number}."} for number in range(30_000)])
    source = HubTextSource(name="web", dataset="set", max_records=10)
    list(read_corpus_source(source, folder))
    tracemalloc.start()
    assert len(list(read_corpus_source(source, folder))) == 10
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100 * 30_000


def test_the_draw_passes_over_pictures_and_is_the_same_in_every_process(folder: Path) -> None:
    (folder / "set").mkdir()
    features = Features(prompt=Value("string"), completion=Value("string"), picture=Image())
    picture = PIL.Image.new("RGB", (2, 2))
    rows = [{"prompt": f"{number}?", "completion": "So.", "picture": picture} for number in range(30)]
    Dataset.from_list(rows, features=features).to_parquet(folder / "set" / "train.parquet")
    source = HubConversationsSource(name="chat", dataset="set", max_records=5)
    drawn = [record.origin for record in read_sft_source(source, folder) if isinstance(record, Conversation)]
    without = [{"prompt": f"{number}?", "completion": "So."} for number in range(30)]
    assert drawn == [f"set/train:{number}" for number in range(1, 31) if without[number - 1] in picked(without, 5)]


def test_a_row_that_holds_what_json_lacks_is_refused_without_its_address(folder: Path) -> None:
    (folder / "set").mkdir()
    features = Features(messages=[{"role": Value("string"), "content": Image()}])
    rows = [{"messages": [{"role": "user", "content": PIL.Image.new("RGB", (2, 2))}]}]
    Dataset.from_list(rows, features=features).to_parquet(folder / "set" / "train.parquet")
    [refused] = read_sft_source(HubConversationsSource(name="chat", dataset="set"), folder)
    assert isinstance(refused, QuarantinedRecord) and refused.reason is Reason.WRONG_TYPE
    assert "0x" not in refused.detail + refused.excerpt


def test_a_number_that_is_none_is_refused_as_in_a_file(folder: Path) -> None:
    pair = {"prompt": "Why?", "chosen": "So.", "rejected": "No.", "score_rejected": 1.0}
    (folder / "set").mkdir()
    Dataset.from_list([{**pair, "score_chosen": score} for score in (float("nan"), 2.0)]).to_parquet(
        folder / "set" / "train.parquet"
    )
    refused, found = read_preference_source(HubPreferencesSource(name="pairs", dataset="set"), folder)
    assert isinstance(refused, QuarantinedRecord) and refused.reason is Reason.NOT_FINITE
    assert isinstance(found, tuple) and found[1].margin == 1


def test_the_category_of_dolly_is_the_class_of_its_rows(folder: Path) -> None:
    source = HubConversationsSource(name="dolly", dataset=write(folder, "dolly"))
    found = [record.class_name for record in read_sft_source(source, folder) if isinstance(record, Conversation)]
    assert found == ["open_qa", "closed_qa"]


def test_a_class_may_be_in_another_column_than_the_turns(folder: Path) -> None:
    source = HubConversationsSource(
        name="chat", dataset=write(folder, "ultrachat"), column="messages", class_key="prompt_id"
    )
    found = [record.class_name for record in read_sft_source(source, folder) if isinstance(record, Conversation)]
    assert found == ["0a", "0b"]
    with pytest.raises(MissingSourceError, match=r"no column 'topic'.*Set `class_key` to one of these"):
        list(read_sft_source(source.model_copy(update={"class_key": "topic"}), folder))


def test_a_weight_says_nothing_about_what_is_read(folder: Path) -> None:
    source = HubConversationsSource(name="chat", dataset=write(folder, "ultrachat"))
    weighted = source.model_copy(update={"weight": 2.0, "max_repeats": 3})
    assert source_hash(weighted, folder) == source_hash(source, folder)
    assert source_hash(source.model_copy(update={"class_key": "prompt_id"}), folder) != source_hash(source, folder)


def test_rows_keep_class_and_group_beside_the_column_of_turns(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    row = {"messages": turns, "category": "open", "group": "one"}
    (tmp_path / "set" / "train.jsonl").write_text(json.dumps(row) + "\n")
    [record] = read_sft_source(HubConversationsSource(name="chat", dataset="set", column="messages"), tmp_path)
    assert isinstance(record, Conversation) and (record.class_name, record.group) == ("open", "one")
