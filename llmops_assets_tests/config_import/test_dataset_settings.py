"""Every setting of a dataset_info.json entry is honoured as LLaMA-Factory reads it, or refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from llmops_assets.data.records import Conversation
from llmops_assets.data.sources.file_sources import read_file_conversations
from llmops_assets.data.sources.specs import ConversationFilesSource
from llmops_assets_tests.config_import.conftest import Desk

Make = Callable[..., dict[str, Any]]

TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
CHAT = {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": TAGS}
HUB = {"hf_hub_url": "owner/set", **CHAT}


def own(desk: Desk, make: Make, stage: str, entry: Any, *rows: dict[str, Any], **keys: Any) -> list[Any]:
    """Write the data set `own` with its registry, and a config of `stage` that names it."""
    data = desk.folder / "data"
    (data / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entry = {"file_name": "own.jsonl", **entry} if isinstance(entry, dict) and "hf_hub_url" not in entry else entry
    (data / "dataset_info.json").write_text(json.dumps({"own": entry}))
    return [desk.write("config.yaml", make(stage, dataset="own", **keys))]


def chat(*roles: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": role} for role in roles]}


@pytest.mark.parametrize(
    ("stage", "entry", "sentence"),
    [
        ("sft", {"num_samples": 5}, "`num_samples` draws rows at random"),
        ("sft", {"hf_hub_url": "owner/set", "num_samples": 5}, "`num_samples` draws rows at random"),
        ("sft", {"split": "train[:10%]"}, "`split: train[:10%]` of a file cannot be honoured"),
        ("sft", {"script_url": "own.py"}, "comes from script_url"),
        ("sft", {"cloud_file_name": "s3://own"}, "comes from cloud_file_name"),
        ("sft", {"file_name": 3}, "`file_name` must name a file or folder, and is 3"),
        ("sft", {"columns": {"prompt": "q", "response": "a", "kto_tag": "good"}}, "`columns.kto_tag` makes it a set"),
        ("sft", {"columns": {"prompt": "q", "images": "i"}}, "has columns for images"),
        ("sft", {"columns": ["q"]}, "`columns` must be an object of names"),
        ("sft", {"columns": {"prompt": 3}}, "`columns.prompt` must be a text, and is 3"),
        (
            "sft",
            {"formatting": "sharegpt", "tags": {"user_tag": "user"}},
            "`tags` names no role_tag, content_tag, assi",
        ),
        ("sft", {**HUB, "columns": {"messages": "messages", "system": "s"}}, "`columns.system` is a second column"),
        ("pt", {"hf_hub_url": "owner/set"}, "its texts are not in one column"),
        ("pt", {"formatting": "sharegpt"}, "holds conversations"),
        ("sft", [], "own: must be an object such as"),
    ],
)
def test_a_setting_that_cannot_be_honoured_is_refused(
    desk: Desk, llama_factory: Make, stage: str, entry: Any, sentence: str
) -> None:
    assert sentence in desk.complaint(*own(desk, llama_factory, stage, entry, {"q": "A?", "a": "B."}))


def test_pre_training_joins_prompt_and_query_as_llama_factory_does(desk: Desk, llama_factory: Make) -> None:
    rows = [{"title": "A", "body": "text"}, {"title": "B", "body": ""}, {"title": "", "body": "C"}]
    config = own(desk, llama_factory, "pt", {"columns": {"prompt": "title", "query": "body"}}, *rows)
    [file] = desk.bring(*config)[1].data_files
    assert [json.loads(line)["text"] for line in file.read_text().splitlines()] == ["A\ntext", "B", "C"]


def test_keys_that_llama_factory_passes_over_are_reported(desk: Desk, llama_factory: Make) -> None:
    entry = {**CHAT, "file_sha1": "0", "subset": "x", "columns": {"messages": "messages", "mesages": "m"}}
    report = desk.bring(*own(desk, llama_factory, "sft", entry, chat("user", "assistant")))[1].report_text()
    assert "own: file_sha1, subset, columns.mesages: LLaMA-Factory does not read it either" in report


@pytest.mark.parametrize(
    ("entry", "row", "sentence"),
    [
        (CHAT, chat("user", "observation"), "a turn of 'observation', which no tag of the entry names"),
        (CHAT, chat("user", "model"), "leaves the row out; leave such rows out of the file"),
        (CHAT, chat("system", "user", "assistant"), "a turn of 'system', which no tag of the entry names"),
        (CHAT, {"messages": 3}, "row 1: messages is no list of turns"),
        ({}, {"instruction": 3, "output": "B."}, "row 1: prompt and query must be texts"),
        (
            {"columns": {"prompt": "q", "response": "a", "history": "h"}},
            {"q": "A?", "a": "B.", "h": ["C?"]},
            "row 1: h holds 'C?', no [question, answer]",
        ),
    ],
)
def test_rows_that_would_be_read_otherwise_are_refused(
    desk: Desk, llama_factory: Make, entry: dict[str, Any], row: dict[str, Any], sentence: str
) -> None:
    assert sentence in desk.complaint(*own(desk, llama_factory, "sft", entry, row))


CALL = {"function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize("formatting", ["sharegpt", "openai"])
def test_tools_and_their_calls_are_read_by_the_lane(desk: Desk, llama_factory: Make, formatting: str) -> None:
    tags = {**TAGS, "function_tag": "call", "observation_tag": "result"}
    entry = {**CHAT, "formatting": formatting, "tags": tags, "columns": {"messages": "messages", "tools": "functions"}}
    row = {**chat("user", "call", "result", "assistant"), "functions": '[{"name": "f"}]'}
    row["messages"][1]["content"] = '{"name": "f", "arguments": {}}'
    if formatting == "openai":
        row["messages"][1] = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    recipe, result = desk.bring(*own(desk, llama_factory, "sft", entry, row))
    assert recipe.sft_set is not None
    [source] = recipe.sft_set.sources
    assert isinstance(source, ConversationFilesSource)
    [record] = read_file_conversations(source, result.recipe.parent)
    assert isinstance(record, Conversation), record
    assert [message.role for message in record.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert "<tools>" in record.messages[0].content and "<tool_call>" in record.messages[2].content


def test_names_of_an_online_folder_are_hub_sets_in_the_alpaca_layout(desk: Desk, llama_factory: Make) -> None:
    keys = {"dataset": "owner/set", "dataset_dir": "ONLINE"}
    assert "are no lists of turns" in desk.complaint(desk.write("sft.yaml", llama_factory(**keys)))
    remote = desk.write("sft.yaml", llama_factory(dataset_dir="REMOTE:owner/set"))
    assert f"{remote}:5: dataset_dir: REMOTE:owner/set is on the hub" in desk.complaint(remote)


def test_a_set_listed_twice_is_read_once_as_in_llama_factory(desk: Desk, llama_factory: Make) -> None:
    recipe, _ = desk.bring(desk.write("sft.yaml", llama_factory(dataset="messages,messages")))
    assert recipe.sft_set is not None
    assert len(recipe.sft_set.sources) == 1
