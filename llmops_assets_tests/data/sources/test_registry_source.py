"""Data sets of a LLaMA-Factory registry, read as sources where they lie."""

import json
from pathlib import Path
from typing import Any

import fsspec
import pytest

from llmops_assets.data.jsonl import LONGEST_LINE
from llmops_assets.data.records import Conversation, Document, QuarantinedRecord, Reason, RecordError
from llmops_assets.data.sets.thumbs_set import ThumbsSetSpec, build_thumbs_set
from llmops_assets.data.sources.file_sources import MissingSourceError
from llmops_assets.data.sources.reading import facts_of, read_corpus_source, read_preference_source, read_sft_source
from llmops_assets.data.sources.registry.columns import Columns
from llmops_assets.data.sources.registry.rows import as_pair
from llmops_assets.data.sources.specs import (
    RegistryConversationsSource,
    RegistryPreferencesSource,
    RegistryTextSource,
    RegistryThumbsSource,
)
from llmops_assets_tests.data.hub_cache import lay_out, parquet

FILE = "../data/dataset_info.json"
OPENAI_TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
REGISTRY: dict[str, dict[str, Any]] = {
    "alpaca": {"file_name": "alpaca.json"},
    "own": {"file_name": "own.jsonl", "columns": {"prompt": "q", "response": "a", "system": "s", "history": "h"}},
    "chats": {"file_name": "chats.json", "formatting": "sharegpt", "columns": {"messages": "talk", "tools": "tools"}},
    "openai": {
        "file_name": "openai",
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": OPENAI_TAGS,
    },
    "pairs": {
        "file_name": "pairs.json",
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
    },
    "alpaca_pairs": {
        "file_name": "alpaca_pairs.json",
        "ranking": True,
        "columns": {"prompt": "instruction", "query": "input", "chosen": "good", "rejected": "bad"},
    },
    "thumbs": {
        "file_name": "thumbs.json",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "kto_tag": "label"},
        "tags": OPENAI_TAGS,
    },
    "wiki": {"file_name": "wiki.txt", "columns": {"prompt": "text"}},
    "texts": {"file_name": "texts.jsonl", "columns": {"prompt": "body"}, "num_samples": 3},
    "online": {"hf_hub_url": "owner/chats", "subset": "big", "split": "train", "num_samples": 2},
    "elsewhere": {"ms_hub_url": "owner/chats"},
    "modelers": {"om_hub_url": "owner/chats"},
    "scripted": {"script_url": "load.py"},
    "nameless": {"formatting": "alpaca"},
    "pictures": {"file_name": "alpaca.json", "columns": {"prompt": "instruction", "images": "images"}},
}
FILES: dict[str, Any] = {
    "alpaca.json": [
        {"instruction": "Add.", "input": "1 and 2", "output": "3"},
        {"instruction": "Say hello.", "input": "", "output": "Hello."},
        {"instruction": "Lost."},
    ],
    "chats.json": [
        {
            "talk": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Hello."}],
            "tools": '[{"name": "look", "description": "Looks.", "parameters": {}}]',
        }
    ],
    "pairs.json": [
        {
            "conversations": [{"from": "human", "value": "Hi?"}],
            "chosen": {"from": "gpt", "value": "Hello."},
            "rejected": {"from": "gpt", "value": "Go."},
        }
    ],
    "alpaca_pairs.json": [{"instruction": "Add.", "input": "1 and 2", "good": "3", "bad": "4"}],
    "thumbs.json": [
        {
            "messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": answer}],
            "label": label,
        }
        for answer, label in (("Hello.", True), ("Go.", False), ("What?", "no"))
    ],
}


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the recipes; beside it, the registry with its files."""
    monkeypatch.setenv("LLMOPS_STATE_DIR", str(tmp_path / "state"))
    data = tmp_path / "data"
    (data / "openai").mkdir(parents=True)
    (data / "dataset_info.json").write_text(json.dumps(REGISTRY))
    for name, rows in FILES.items():
        (data / name).write_text(json.dumps(rows))
    own = {"q": "And twice?", "a": "Four.", "s": "Be brief.", "h": [["One?", "Two."]]}
    (data / "own.jsonl").write_text(json.dumps(own) + "\nbroken\n")
    for number in (1, 2):
        turns = [{"role": "user", "content": f"{number}?"}, {"role": "assistant", "content": f"{number}."}]
        (data / "openai" / f"{number}.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    (data / "wiki.txt").write_text("First.\n\nSecond.\n")
    (data / "texts.jsonl").write_text("".join(json.dumps({"body": f"Text {n}."}) + "\n" for n in range(20)))
    (tmp_path / "recipes").mkdir()
    return tmp_path / "recipes"


def chats(recipes: Path, dataset: str, **more: Any) -> list[Conversation | QuarantinedRecord]:
    source = RegistryConversationsSource(name="set", file=FILE, dataset=dataset, **more)
    return list(read_sft_source(source, recipes))


def contents(record: object) -> list[str]:
    assert isinstance(record, Conversation)
    return [message.content for message in record.messages]


def test_alpaca_rows_are_joined_as_llama_factory_joins_them(recipes: Path) -> None:
    first, second, bad = chats(recipes, "alpaca")
    assert (contents(first), contents(second)) == (["Add.\n1 and 2", "3"], ["Say hello.", "Hello."])
    assert isinstance(first, Conversation) and first.origin == "../data/alpaca.json:1"
    assert isinstance(bad, QuarantinedRecord)
    assert (bad.reason, bad.origin_file) == (Reason.MISSING_FIELD, "../data/alpaca.json")
    assert "no column 'output'" in bad.detail


def test_a_column_that_the_entry_does_not_name_is_asked_for() -> None:
    with pytest.raises(
        RecordError, match=r"the entry has no `columns\.chosen`; name one of \['chosen', 'instruction'\]"
    ):
        as_pair({"instruction": "Why?", "chosen": "So."}, Columns.of({"ranking": True}))


def test_columns_and_history_of_an_entry_are_followed_and_broken_lines_kept(recipes: Path) -> None:
    good, broken = chats(recipes, "own")
    assert contents(good) == ["Be brief.", "One?", "Two.", "And twice?", "Four."]
    assert isinstance(broken, QuarantinedRecord) and (broken.line, broken.reason) == (2, Reason.INVALID_JSON)


def test_tags_tools_and_folders_are_followed(recipes: Path) -> None:
    [tools] = chats(recipes, "chats")
    assert "look" in contents(tools)[0] and contents(tools)[1:] == ["Hi?", "Hello."]
    assert [contents(chat) for chat in chats(recipes, "openai")] == [["1?", "1."], ["2?", "2."]]


@pytest.mark.parametrize(
    ("dataset", "prompt", "answers"), [("pairs", "Hi?", "Hello. Go."), ("alpaca_pairs", "", "3 4")]
)
def test_ranked_sets_are_preference_pairs(recipes: Path, dataset: str, prompt: str, answers: str) -> None:
    source = RegistryPreferencesSource(name="set", file=FILE, dataset=dataset)
    [found] = read_preference_source(source, recipes)
    assert isinstance(found, tuple)
    assert [found[1].chosen, found[1].rejected] == answers.split()
    assert found[1].prompt[-1].content == (prompt or "Add.\n1 and 2")


def test_a_kto_tag_makes_thumbs(recipes: Path, tokenizer_file: Path, tmp_path: Path) -> None:
    spec = {"sources": [{"kind": "registry", "name": "set", "file": FILE, "dataset": "thumbs"}]}
    section = ThumbsSetSpec.model_validate({**spec, "max_quarantined_share": 0.5})
    (tmp_path / "out").mkdir()
    counts = build_thumbs_set(section, tokenizer_file, tmp_path / "out", recipes)
    assert (counts["up"], counts["down"], counts["quarantined"]) == (1, 1, {"wrong_type": 1})


def test_sets_for_pre_training_are_documents_and_num_samples_are_drawn_by_hash(recipes: Path) -> None:
    wiki = read_corpus_source(RegistryTextSource(name="wiki", file=FILE, dataset="wiki"), recipes)
    assert [(d.text, d.origin) for d in wiki if isinstance(d, Document)] == [
        ("First.", "../data/wiki.txt:1"),
        ("Second.", "../data/wiki.txt:3"),
    ]
    source = RegistryTextSource(name="texts", file=FILE, dataset="texts")
    drawn = [document.text for document in read_corpus_source(source, recipes) if isinstance(document, Document)]
    assert len(drawn) == 3 and drawn != [f"Text {number}." for number in range(3)]
    # A row that is not among the drawn ones changes nothing, wherever it stands.
    file = recipes.parent / "data" / "texts.jsonl"
    kept = [line for line in file.read_text().splitlines() if json.loads(line)["body"] in drawn]
    file.write_text("\n".join([*reversed(kept)]) + "\n")
    assert {d.text for d in read_corpus_source(source, recipes) if isinstance(d, Document)} == set(drawn)


def test_a_broken_or_endless_line_of_a_text_is_quarantined(recipes: Path) -> None:
    text = b"\xef\xbb\xbfFirst.\n" + b"x" * (LONGEST_LINE + 1) + b"\nbad \xff\nLast."
    (recipes.parent / "data" / "wiki.txt").write_bytes(text)
    found = list(read_corpus_source(RegistryTextSource(name="wiki", file=FILE, dataset="wiki"), recipes))
    assert [d.text for d in found if isinstance(d, Document)] == ["First.", "Last."]
    rejected = [(bad.line, bad.reason) for bad in found if isinstance(bad, QuarantinedRecord)]
    assert rejected == [(2, Reason.TOO_LARGE), (3, Reason.INVALID_UTF8)]


def test_a_hub_set_is_read_at_the_revision_of_the_source(recipes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(recipes.parent / "hub"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", recipes.parent / "arrow")
    rows = [{"instruction": f"Say {number}.", "input": "", "output": str(number)} for number in range(5)]
    card = "---\nconfigs:\n- config_name: big\n  data_files: big/train-*\n---\n"
    files = {"README.md": card.encode(), "big/train-00000-of-00001.parquet": parquet(rows)}
    lay_out(recipes.parent, "owner/chats", "c" * 40, files)
    found = chats(recipes, "online", revision="c" * 40)
    assert len(found) == 2 and all(isinstance(chat, Conversation) and chat.layout == "messages" for chat in found)
    source = RegistryConversationsSource(name="set", file=FILE, dataset="online", license="mit")
    facts = facts_of(source, recipes)
    assert (facts.kind, facts.revision, facts.license) == ("registry", "c" * 40, "MIT")


def test_files_of_a_cloud_store_are_read_by_their_address(recipes: Path) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe("/sums/a.jsonl", b'{"instruction": "Add.", "output": "3"}\n')
    fs.pipe("/sums/b.jsonl", b'{"instruction": "Add more.", "output": "4"}\n')
    for address in ("memory://sums/a.jsonl", "memory://sums"):
        registry = {"sums": {"cloud_file_name": address}}
        (recipes.parent / "data" / "dataset_info.json").write_text(json.dumps(registry))
        found = [contents(chat) for chat in chats(recipes, "sums")]
        assert found == [["Add.", "3"], ["Add more.", "4"]][: len(found)] and found
    fs.rm("/sums", recursive=True)
    assert len(found) == 2


def test_the_entry_and_the_files_are_the_version(recipes: Path) -> None:
    source = RegistryConversationsSource(name="set", file=FILE, dataset="alpaca")
    hashes = [facts_of(source, recipes).content_hash]
    (recipes.parent / "data" / "alpaca.json").write_text("[]")
    hashes.append(facts_of(source, recipes).content_hash)
    registry = {**REGISTRY, "alpaca": {"file_name": "alpaca.json", "columns": {"prompt": "instruction"}}}
    (recipes.parent / "data" / "dataset_info.json").write_text(json.dumps(registry))
    hashes.append(facts_of(source, recipes).content_hash)
    (recipes.parent / "data" / "dataset_info.json").write_text(json.dumps(registry | {"unrelated": {}}))
    assert facts_of(source, recipes).content_hash == hashes[2]
    assert len(set(hashes)) == 3


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        ("xxx", r"Dataset 'xxx' not found in \.\./data/dataset_info\.json; it has: alpaca, .*wiki; add an entry"),
        ("elsewhere", "elsewhere: `ms_hub_url`: ModelScope; a lane reads files and the Hugging Face hub; download it"),
        ("modelers", "`om_hub_url`: Modelers"),
        ("scripted", "`script_url`: a loading script, which would be code of others"),
        ("nameless", "`file_name` must name a file or folder, and is None"),
        ("pictures", "has columns for images; lanes are text"),
        ("pairs", r"holds preference pairs \(ranking: true\)"),
        ("thumbs", "`columns.kto_tag` makes it a set of thumbs"),
    ],
)
def test_what_a_lane_cannot_read_is_refused_by_name(recipes: Path, dataset: str, sentence: str) -> None:
    with pytest.raises(MissingSourceError, match=rf"source 'set': .*{sentence}"):
        chats(recipes, dataset)


def test_a_registry_that_is_not_there_or_broken_is_named_with_its_line(recipes: Path) -> None:
    source = RegistryThumbsSource(name="set", file="../gone.json", dataset="thumbs")
    with pytest.raises(MissingSourceError, match=r"source 'set': `file: \.\./gone\.json`.*No such file"):
        facts_of(source, recipes)
    (recipes.parent / "data" / "dataset_info.json").write_text('{"alpaca":\n {"file_name" }}')
    with pytest.raises(MissingSourceError, match=r"dataset_info.json:2: is no JSON"):
        chats(recipes, "alpaca")
    with pytest.raises(MissingSourceError, match="`revision` is that of a hub data set"):
        (recipes.parent / "data" / "dataset_info.json").write_text(json.dumps(REGISTRY))
        chats(recipes, "alpaca", revision="c" * 40)


def test_rows_of_conversations_keep_id_group_and_class(tmp_path: Path) -> None:
    (tmp_path / "info.json").write_text(json.dumps({"own": {"file_name": "own.json"}}))
    row = {"instruction": "Add.", "output": "3", "id": "a", "group": "sums", "category": "maths"}
    (tmp_path / "own.json").write_text(json.dumps([row, row | {"id": 7}]))
    source = RegistryConversationsSource(name="own", file="info.json", dataset="own")
    first, second = (record for record in read_sft_source(source, tmp_path) if isinstance(record, Conversation))
    assert (first.id, first.group, first.class_name) == ("own/a", "sums", "maths")
    assert second.id != "own/7" and second.group == "sums"
