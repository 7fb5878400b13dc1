"""Named sets read offline from a hub cache on disk: at the very revision, whole, or not at all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmops_assets.data.sources.file_sources import MissingSourceError
from llmops_assets.data.sources.reading import facts_of, pinned, read_sft_source
from llmops_assets.data.sources.specs import HubConversationsSource
from llmops_assets_tests.data.hub_cache import lay_out, packed_lines, parquet

OLD, NEW = "a" * 40, "b" * 40
# The head of ultrachat_200k's card: one configuration, whose splits are series of files.
CARD = """---
configs:
- config_name: default
  data_files:
  - split: train_sft
    path: data/train_sft-*
  - split: test_sft
    path: data/test_sft-*
---
# UltraChat
"""
ULTRACHAT = "HuggingFaceH4/ultrachat_200k"
READ = """
import json
from pathlib import Path
from llmops_assets.data.sources.reading import facts_of, read_preference_source, read_sft_source
from llmops_assets.data.sources.specs import HubConversationsSource, HubPreferencesSource
chats = HubConversationsSource(name="chats", dataset="ultrachat", revision="{old}")
pairs = HubPreferencesSource(name="pairs", dataset="hh_rlhf", folder="helpful-base")
print(json.dumps({{
    "answers": [chat.messages[-1].content for chat in read_sft_source(chats, Path("."))],
    "chosen": [pair[1].chosen for pair in read_preference_source(pairs, Path("."))],
    "revisions": [facts_of(chats, Path(".")).revision, facts_of(pairs, Path(".")).revision],
    "licenses": [facts_of(chats, Path(".")).license, facts_of(pairs, Path(".")).license],
}}))
"""


def chat(answer: str) -> dict:
    turns = [{"content": "Why?", "role": "user"}, {"content": answer, "role": "assistant"}]
    return {"prompt": "Why?", "prompt_id": answer, "messages": turns}


def ultrachat(*answers: str) -> dict[str, bytes]:
    """The files of the set, a series of one file an answer."""
    count = len(answers)
    train = {
        f"data/train_sft-{number:05}-of-{count:05}-{number:016x}.parquet": parquet([chat(answer)])
        for number, answer in enumerate(answers)
    }
    test = {"data/test_sft-00000-of-00001-f7dfac4afe5b93f4.parquet": parquet([chat("Tested.")])}
    return {"README.md": CARD.encode(), **train, **test}


def pair(chosen: str) -> dict[str, str]:
    question = "\n\nHuman: Why?\n\nAssistant:"
    return {"chosen": f"{question} {chosen}", "rejected": f"{question} No."}


def test_two_named_sets_are_read_at_their_revision_without_the_hub(tmp_path: Path) -> None:
    lay_out(tmp_path, ULTRACHAT, OLD, ultrachat("Old one.", "Old two."), ref=None)
    lay_out(tmp_path, ULTRACHAT, NEW, ultrachat("New."))
    folders = {
        f"{folder}/{split}.jsonl.gz": packed_lines([pair(f"{folder} {split}")])
        for folder in ("harmless-base", "helpful-base")
        for split in ("train", "test")
    }
    lay_out(tmp_path, "Anthropic/hh-rlhf", NEW, {"README.md": b"---\nlicense: mit\n---\n", **folders})
    environment = os.environ | {
        "HF_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": f"{tmp_path}/arrow",
    }
    environment = {name: value for name, value in environment.items() if name != "HF_HUB_CACHE"}
    script = [sys.executable, "-c", READ.format(old=OLD)]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "answers": ["Old one.", "Old two."],
        "chosen": ["helpful-base train"],
        "revisions": [OLD, NEW],
        "licenses": ["MIT", "MIT"],
    }


def answers(source: HubConversationsSource) -> list[str]:
    return [chat.messages[-1].content for chat in read_sft_source(source, Path())]  # pyright: ignore


def test_without_a_revision_the_cached_branch_is_pinned(hub_home: Path) -> None:
    lay_out(hub_home, ULTRACHAT, OLD, ultrachat("Old."))
    source = HubConversationsSource(name="chats", dataset="ultrachat")
    held, before = pinned(source, Path()), facts_of(source, Path())
    assert (held.revision, held.dataset, before.revision) == (OLD, ULTRACHAT, OLD)
    lay_out(hub_home, ULTRACHAT, NEW, ultrachat("New."))
    assert (answers(held), answers(source)) == (["Old."], ["New."])
    assert facts_of(held, Path()) == before
    assert facts_of(source, Path()).content_hash != before.content_hash


def test_a_revision_that_is_not_cached_is_not_read_from_another_one(hub_home: Path) -> None:
    lay_out(hub_home, ULTRACHAT, OLD, ultrachat("Old."))
    source = HubConversationsSource(name="chats", dataset="ultrachat", revision=NEW)
    advice = rf"ultrachat_200k@{NEW}.*hf download {ULTRACHAT} --repo-type dataset --revision"
    with pytest.raises(MissingSourceError, match=advice):
        answers(source)


def test_a_series_that_lacks_a_file_is_not_read_in_part(hub_home: Path) -> None:
    snapshot = lay_out(hub_home, ULTRACHAT, OLD, ultrachat("One.", "Two.", "Three."))
    source = HubConversationsSource(name="chats", dataset="ultrachat", revision=OLD)
    assert answers(source) == ["One.", "Two.", "Three."]
    next(snapshot.glob("data/train_sft-00001-*")).unlink()
    with pytest.raises(MissingSourceError, match="the cache lacks data/train_sft-00001-of-00003"):
        answers(source)


def test_what_was_prepared_of_another_revision_is_not_read_when_the_hub_does_not_answer(
    hub_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = hub_home / "arrow" / "HuggingFaceH4___ultrachat_200k" / "default" / "0.0.0" / OLD
    prepared.mkdir(parents=True)
    info = {"builder_name": "parquet", "config_name": "default", "dataset_name": "ultrachat_200k"}
    version = {"version_str": "0.0.0", "major": 0, "minor": 0, "patch": 0}
    (prepared / "dataset_info.json").write_text(json.dumps({**info, "version": version}))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    source = HubConversationsSource(name="chats", dataset="ultrachat", revision=NEW)
    with pytest.raises(MissingSourceError, match="the hub does not answer"):
        answers(source)
