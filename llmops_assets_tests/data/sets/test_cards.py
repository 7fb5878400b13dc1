"""Data cards: facts that add up, the hub's front matter, and nothing that a machine or an attacker put there."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llmops_assets.data.records import Conversation, Message, Span
from llmops_assets.data.sets.card_facts import preference_facts, summarized_facts, thumbs_facts
from llmops_assets.data.sets.cards import CARD_FILE, CardFacts, CardSpec, card_text, inline, write_card
from llmops_assets.data.sets.data_set import DataSetSummary
from llmops_assets.data.sets.sft_set import build_sft_set
from llmops_assets.data.sets.thumbs_set import ThumbsSetSpec
from llmops_assets.data.sources.sources_at_hand import SourcesAtHand
from llmops_assets.data.sources.specs import (
    ConversationFilesSource,
    HubPreferencesSource,
    RegistryThumbsSource,
    ThumbFilesSource,
)
from llmops_assets.data.specs import SftSetSpec
from llmops_assets.data.splits import draw
from llmops_assets_tests.data.hub_cache import lay_out

COMMIT = "c" * 40
STATED = CardSpec(language=["en", "pt-BR"], contact="Ada | <script>alert(1)</script> [x](http://y)")


@pytest.fixture
def built(tmp_path: Path, tokenizer_file: Path) -> tuple[Path, SftSetSpec, SourcesAtHand, DataSetSummary]:
    rows = [{"prompt": f"What is {n}?", "completion": f"Number {n}.", "category": "ab"[n % 2]} for n in range(60)]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    absolute = ConversationFilesSource(name="chats", pattern=str(tmp_path / "*.jsonl"), license="CC-BY-4.0")
    spec = SftSetSpec(val_per_class=4, max_examples=30)
    summary = build_sft_set([absolute], spec, None, tokenizer_file, tmp_path / "out", tmp_path)
    return tmp_path, spec, SourcesAtHand.look_up([absolute], tmp_path), summary


def test_the_hub_reads_the_card_and_loads_the_set_by_it(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import load_dataset
    from huggingface_hub import DatasetCard

    folder, spec, at_hand, summary = built
    write_card(folder / "out", summarized_facts("lane", "sft_set", spec, at_hand, summary), STATED)
    card = DatasetCard.load(folder / "out" / CARD_FILE)
    front = card.data.to_dict()
    assert front["license"] == "cc-by-4.0" and front["language"] == ["en", "pt-BR"]
    assert front["size_categories"] == ["n<1K"] and front["pretty_name"] == "lane/sft_set"
    loaded = load_dataset(str(folder / "out"), cache_dir=str(folder / "cache"))
    assert {split: rows.num_rows for split, rows in loaded.items()} == {"train": 30, "test": 8}


@pytest.mark.parametrize(("told", "weight"), [({"category": "a"}, {}), ({}, {"weight": 0})])
def test_the_hub_loads_a_set_whose_sides_do_not_say_the_same_of_their_rows(
    tmp_path: Path, tokenizer_file: Path, told: dict[str, Any], weight: dict[str, Any]
) -> None:
    from datasets import load_dataset

    def chat(number: int, **weight: Any) -> list[dict[str, Any]]:
        first = [{"role": "user", "content": f"What is {number}?"}, {"role": "assistant", "content": "Hm.", **weight}]
        return [*first, {"role": "user", "content": "Well?"}, {"role": "assistant", "content": f"{number}."}]

    rows = [*({"messages": chat(n)} for n in range(20)), {"messages": chat(20, **weight), "group": "one", **told}]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = ConversationFilesSource(name="chats", pattern=str(tmp_path / "*.jsonl"))
    spec = SftSetSpec(seed=next(seed for seed in range(100) if draw(seed, "one") < 0.05))
    summary = build_sft_set([source], spec, None, tokenizer_file, tmp_path / "out", tmp_path)
    facts = summarized_facts("lane", "sft_set", spec, SourcesAtHand.look_up([source], tmp_path), summary)
    write_card(tmp_path / "out", facts, STATED)
    loaded = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert "one" in set(loaded["test"]["group"]) and "one" not in set(loaded["train"]["group"])


def test_the_hub_loads_a_set_of_which_one_side_alone_has_extracted_answers(built: Any) -> None:
    from datasets import load_dataset

    folder, spec, at_hand, summary = built
    write_card(folder / "out", summarized_facts("lane", "sft_set", spec, at_hand, summary), STATED)
    span = Span("topics/if", 3, 9, "0" * 64, False)
    turns = (Message("user", "What?"), Message("assistant", "Where?"))
    extracted = Conversation("x", turns, "docs", "docs", "x", "extractive", (span,), "extracted")
    with (folder / "out" / "heldout.jsonl").open("a") as stream:
        stream.write(json.dumps(extracted.to_row() | {"tokens": 9}) + "\n")
    loaded = load_dataset(str(folder / "out"), cache_dir=str(folder / "cache"))
    assert loaded["test"][-1]["spans"] == [span.to_row()] and loaded["train"][0]["spans"] == [None]


def test_counts_of_a_card_add_up_to_what_was_read(built: Any) -> None:
    _, spec, at_hand, summary = built
    facts = summarized_facts("lane", "sft_set", spec, at_hand, summary)
    left_out = {row["reason"]: row["rows"] for row in facts.tables["What was left out"]}
    assert left_out == {"invalid_json": 1, "not drawn, by limits and weights": 22}
    assert summary.counts["read"] == 61 == 38 + 1 + 22
    assert facts.tables["Classes"] == [
        {"class": "a", "train": summary.classes["a"]["train"], "heldout": 4},
        {"class": "b", "train": summary.classes["b"]["train"], "heldout": 4},
    ]
    assert any(gap.startswith("30 conversations to train on.") for gap in facts.gaps)
    assert {"setting": "max_examples", "value": 30} in facts.tables["Processing"]


def test_the_same_facts_are_the_same_bytes_without_a_path_of_the_machine(built: Any) -> None:
    folder, spec, at_hand, summary = built
    first, second = (card_text(summarized_facts("lane", "sft_set", spec, at_hand, summary), STATED) for _ in range(2))
    assert first == second and str(folder) not in first
    content = summary.source_hashes["chats"][:12]
    assert f"| chats | files | \\*.jsonl | - | CC-BY-4.0 | {content} | 61 | 38 | 22 |" in first


def test_what_people_leave_out_is_not_stated_and_what_they_say_is_text(built: Any) -> None:
    _, spec, at_hand, summary = built
    card = card_text(summarized_facts("lane", "sft_set", spec, at_hand, summary), STATED)
    assert "| intended use | not stated |" in card and "| language | en, pt-BR |" in card
    assert "<script" not in card and "Ada \\| &lt;script>" in card and "\\[x\\](http://y)" in card
    assert card_text(summarized_facts("lane", "sft_set", spec, at_hand, summary), CardSpec()).count("not stated") == 8
    with pytest.raises(ValidationError, match="language"):
        CardSpec(language=["English"])


def test_gaps_name_missing_licences_revisions_and_simulated_votes(hub_home: Path) -> None:
    lay_out(hub_home, "someone/pairs", COMMIT, {"data.jsonl": b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n'})
    moving = HubPreferencesSource(name="orca", dataset="someone/pairs")
    summary = {
        "train": 40,
        "heldout": 5,
        "rater_kinds": {"simulated": 30},
        "contains_simulated_votes": True,
        "quarantined": {"contaminated": 2},
        "data_sets": {"licenses": {"orca": "unknown"}, "pairs": {"orca": 15}, "chosen_is_longer": {"orca": 0.9}},
    }
    facts = preference_facts("lane", SftSetSpec(), SourcesAtHand.look_up([moving], hub_home), summary)
    gaps = "\n".join(facts.gaps)
    assert "40 pairs to train on" in gaps and "simulated votes" in gaps
    assert "licence is not stated for orca" in gaps and "No revision is pinned for orca" in gaps
    [row] = facts.tables["Sources"]
    assert (row["chosen is longer"], row["revision"]) == ("90.0%", COMMIT), "what was read is named all the same"
    assert facts.tables["What was left out"] == [{"reason": "contaminated", "rows": 2}]
    pinned = SourcesAtHand.look_up([moving.model_copy(update={"revision": COMMIT})], hub_home)
    [row] = preference_facts("lane", SftSetSpec(), pinned, summary).tables["Sources"]
    assert row["revision"] == COMMIT and not pinned.moving


def test_a_thumbs_set_has_a_card_with_its_counts(tmp_path: Path) -> None:
    (tmp_path / "app.jsonl").write_text('{"prompt": "a", "completion": "b", "label": true}\n')
    spec = ThumbsSetSpec(sources=[ThumbFilesSource(name="app", pattern="app.jsonl", license="MIT")])
    counts = {"read": 9, "kept": 6, "up": 4, "quarantined": 1, "not_drawn": 2}
    summary = {
        "train": 6,
        "up": 4,
        "down": 2,
        "quarantined": {"empty": 1},
        "sources": {"app": counts},
        "licenses": {"app": "MIT"},
    }
    at_hand = SourcesAtHand.look_up(spec.sources, tmp_path)
    card = card_text(thumbs_facts("lane", spec, at_hand, summary), CardSpec())
    content = at_hand.facts[0].content_hash[:12]
    assert f"| app | files | app.jsonl | - | MIT | {content} | 9 | 6 | 4 | 1 | 2 |" in card and "license: mit" in card


def test_a_set_of_a_registry_is_named_by_its_entry(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text('{"chats": {"file_name": "chats.json"}}')
    (tmp_path / "chats.json").write_text('[{"instruction": "a", "output": "b"}]')
    source = RegistryThumbsSource(name="app", file=str(tmp_path / "dataset_info.json"), dataset="chats")
    at_hand = SourcesAtHand([source], [source], [], [])
    summary = {"train": 1, "up": 1, "down": 0, "quarantined": {}, "sources": {"app": {}}, "licenses": {}}
    [row] = thumbs_facts("lane", SftSetSpec(), at_hand, summary).tables["Sources"]
    assert row["where"] == "chats of dataset_info.json"


@pytest.mark.parametrize(
    ("spdx", "hub"),
    [
        *(("ODC-By-1.0", "odc-by"), ("ODbL-1.0", "odbl"), ("PDDL-1.0", "pddl"), ("GPL-3.0-or-later", "gpl-3.0")),
        *(("LGPL-3.0-only", "lgpl-3.0"), ("Apache-2.0", "apache-2.0"), ("LicenseRef-mine", "other")),
    ],
)
def test_a_licence_has_the_name_that_the_hub_gives_it(spdx: str, hub: str) -> None:
    card = card_text(CardFacts(name="a", about="b", splits={}, licenses={"s": spdx}), CardSpec())
    assert f"license: {hub}\n" in card


def test_cells_are_one_line_that_means_nothing_to_markdown() -> None:
    assert inline("a\nb | `c` _d_ e_f *g*") == "a b \\| \\`c\\` \\_d\\_ e_f \\*g\\*"
    assert [inline(value) for value in (1234567, 0.5, None, True)] == ["1,234,567", "0.5", "-", "yes"]
