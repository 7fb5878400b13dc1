"""Data sets by name: local files are read or converted, hub sets named, and what a lane cannot read is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmops_assets.data.records import Conversation
from llmops_assets.data.sets.preference_pairs import read_pairs
from llmops_assets.data.sources.file_sources import read_file_conversations
from llmops_assets.data.sources.specs import ConversationFilesSource, HubConversationsSource, HubPreferencesSource
from llmops_assets_tests.config_import.conftest import REGISTRY, Desk

Make = Callable[..., dict[str, Any]]


def conversations(desk: Desk, *arguments: Any) -> list[list[dict[str, Any]]]:
    """Import, and return the turns that the lane's own reader finds."""
    recipe, result = desk.bring(*arguments)
    assert recipe.sft_set is not None
    read = []
    for source in recipe.sft_set.sources:
        assert isinstance(source, ConversationFilesSource)
        for record in read_file_conversations(source, result.recipe.parent):
            assert isinstance(record, Conversation), record
            read.append([message.to_row() for message in record.messages])
    return read


def test_alpaca_rows_are_converted_as_llama_factory_reads_them(desk: Desk, llama_factory: Make) -> None:
    rows = conversations(desk, desk.write("sft.yaml", llama_factory(dataset="alpaca", max_samples=2)))
    assert rows == [
        [{"role": "user", "content": "Add.\n1 and 2"}, {"role": "assistant", "content": "3"}],
        [{"role": "user", "content": "Say hello."}, {"role": "assistant", "content": "Hello."}],
    ]


def test_sharegpt_rows_are_converted_and_messages_read_where_they_lie(desk: Desk, llama_factory: Make) -> None:
    config = desk.write("sft.yaml", llama_factory(dataset="sharegpt,messages"))
    turns = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]
    assert conversations(desk, config) == [turns, turns]
    _, result = desk.bring(config)
    assert [file.name for file in result.data_files] == ["sft_set-sharegpt.jsonl"]


def test_columns_and_history_of_the_registry_are_followed(desk: Desk, llama_factory: Make) -> None:
    row = {"q": "And twice?", "a": "Four.", "s": "Be brief.", "h": [["One?", "Two."]]}
    (desk.folder / "data" / "own.jsonl").write_text(json.dumps(row) + "\n")
    columns = {"prompt": "q", "response": "a", "system": "s", "history": "h"}
    registry = {"own": {"file_name": "own.jsonl", "columns": columns}}
    (desk.folder / "data" / "dataset_info.json").write_text(json.dumps(registry))
    [turns] = conversations(desk, desk.write("sft.yaml", llama_factory(dataset="own")))
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user", "assistant"]
    assert [turn["content"] for turn in turns] == ["Be brief.", "One?", "Two.", "And twice?", "Four."]


def test_a_hub_set_of_messages_is_a_hub_source(desk: Desk, llama_factory: Make) -> None:
    recipe, result = desk.bring(desk.write("sft.yaml", llama_factory(dataset="hub_messages,owner/else", max_samples=9)))
    assert recipe.sft_set is not None
    first, second = recipe.sft_set.sources
    assert isinstance(first, HubConversationsSource)
    assert isinstance(second, HubConversationsSource)
    assert (first.dataset, first.split, first.column, first.max_records) == ("owner/chats", "train_sft", "messages", 9)
    assert second.dataset == "owner/else"
    assert "hub_messages is not pinned" in result.report_text()


def test_the_folder_of_a_hub_set_is_kept(desk: Desk, llama_factory: Make) -> None:
    file = desk.folder / "data" / "dataset_info.json"
    registry = {**REGISTRY, "part": {**REGISTRY["hub_messages"], "folder": "helpful-base"}}
    file.write_text(json.dumps(registry))
    recipe, _ = desk.bring(desk.write("sft.yaml", llama_factory(dataset="part")))
    assert recipe.sft_set is not None
    [source] = recipe.sft_set.sources
    assert isinstance(source, HubConversationsSource) and source.folder == "helpful-base"


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        ("nowhere", "nowhere: data set not found"),
        ("hub_alpaca", "rows of owner/alpaca are no lists of turns"),
        ("pairs", "holds preference pairs"),
        ("gone", "gone.json is not there"),
    ],
)
def test_a_set_that_a_lane_cannot_read_is_refused(desk: Desk, llama_factory: Make, dataset: str, sentence: str) -> None:
    file = desk.folder / "data" / "dataset_info.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "gone": {"file_name": "gone.json"}}))
    assert sentence in desk.complaint(desk.write("sft.yaml", llama_factory(dataset=dataset)))


def test_lines_of_a_text_file_are_documents(desk: Desk, llama_factory: Make) -> None:
    (desk.folder / "data" / "wiki.txt").write_text("First.\n\nSecond.\n")
    (desk.folder / "data" / "dataset_info.json").write_text(json.dumps({"wiki": {"file_name": "wiki.txt"}}))
    _, result = desk.bring(desk.write("pt.yaml", llama_factory("pt", dataset="wiki")))
    [file] = result.data_files
    assert [json.loads(line) for line in file.read_text().splitlines()] == [{"text": "First."}, {"text": "Second."}]


def comparisons(desk: Desk, *arguments: Any) -> list[tuple[list[str], str, str]]:
    """Import, and return prompt, chosen and rejected text of the pairs that the lane's own reader finds."""
    recipe, result = desk.bring(*arguments)
    assert recipe.preferences is not None and recipe.preferences.data_sets is not None
    intake = read_pairs(recipe.preferences.data_sets.sources, result.recipe.parent, [])
    assert not len(intake.quarantine)
    found = [pair.comparison for pair in intake.kept]
    return [([turn.content for turn in one.prompt], one.chosen, one.rejected) for one in found]


def test_pairs_of_turns_are_read_where_they_lie(desk: Desk, dpo: list[Path]) -> None:
    assert comparisons(desk, *dpo) == [(["Hi?"], "Hello.", "Go.")]
    assert "votes alone start a run" in desk.bring(*dpo)[1].report_text()


def test_pairs_with_columns_of_their_own_are_converted(desk: Desk, dpo: list[Path]) -> None:
    row = {"q": "Add.", "x": "1 and 2", "good": "3", "bad": "4", "s": "Be brief.", "h": [["Hi?", "Hello."]]}
    (desk.folder / "data" / "own.json").write_text(json.dumps([row]))
    columns = {"prompt": "q", "query": "x", "chosen": "good", "rejected": "bad", "system": "s", "history": "h"}
    registry = {**REGISTRY, "pairs": {"file_name": "own.json", "ranking": True, "columns": columns}}
    (desk.folder / "data" / "dataset_info.json").write_text(json.dumps(registry))
    assert comparisons(desk, *dpo) == [(["Be brief.", "Hi?", "Hello.", "Add.\n1 and 2"], "3", "4")]


def test_pairs_of_the_hub_need_a_layout_that_a_lane_reads(desk: Desk, dpo: list[Path]) -> None:
    file = desk.folder / "data" / "dataset_info.json"
    file.write_text(json.dumps({**REGISTRY, "pairs": {"hf_hub_url": "owner/pairs", "ranking": True}}))
    assert "in no layout of pairs that a lane reads" in desk.complaint(*dpo)
    hub = {key: value for key, value in REGISTRY["pairs"].items() if key != "file_name"} | {"hf_hub_url": "owner/pairs"}
    file.write_text(json.dumps({**REGISTRY, "pairs": hub}))
    recipe, _ = desk.bring(*dpo)
    assert recipe.preferences is not None and recipe.preferences.data_sets is not None
    [source] = recipe.preferences.data_sets.sources
    assert isinstance(source, HubPreferencesSource) and source.dataset == "owner/pairs"


def test_a_stage_of_preferences_needs_pairs_and_the_others_none(desk: Desk, llama_factory: Make) -> None:
    sft = desk.write("sft.yaml", llama_factory())
    dpo = desk.write("dpo.yaml", llama_factory("dpo", dataset="alpaca", adapter_name_or_path="saves/sft"))
    assert "alpaca: holds no preference pairs" in desk.complaint(sft, dpo)


@pytest.fixture
def dpo(desk: Desk, llama_factory: Make) -> list[Path]:
    """Configs of an SFT stage and of a DPO stage on `pairs`."""
    return [
        desk.write("sft.yaml", llama_factory()),
        desk.write("dpo.yaml", llama_factory("dpo", adapter_name_or_path="saves/sft")),
    ]
