"""Pages of data sets in a lane: the card, the warning about their size, and what changed since the version before."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner, Result

from llmops_assets.assets.lineage import asset_key
from llmops_assets.cli import cli
from llmops_assets_tests.assets.conftest import OpenLane
from llmops_assets_tests.assets.tiny_lane import NAME, make_tiny_lane
from llmops_assets_tests.training.conftest import sentence


@pytest.fixture
def lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenLane]:
    """A lane that has built nothing, with thumbs and a data set of pairs beside its corpus and its conversations."""
    files = make_tiny_lane(tmp_path / "lane")
    files.take_over(monkeypatch)
    pairs = [{"prompt": f"Thing {n}?", "chosen": sentence(n), "rejected": f"It may queue {n}."} for n in range(40)]
    thumbs = [
        {"prompt": f"Thing {n}?", "completion": sentence(n), "label": n % 3 > 0, "category": "x"} for n in range(30)
    ]
    for name, rows in (("pairs", pairs), ("thumbs", thumbs)):
        (files.root / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = yaml.safe_load(files.recipe_file.read_text())
    source = {"kind": "files", "license": "CC0-1.0"}
    recipe["preferences"]["data_sets"] = {"sources": [{**source, "name": "pairs", "pattern": "../../data/pairs.jsonl"}]}
    recipe["thumbs_set"] = {"sources": [{**source, "name": "thumbs", "pattern": "../../data/thumbs.jsonl"}]}
    files.recipe_file.write_text(yaml.safe_dump(recipe))
    with dg.DagsterInstance.get() as instance:
        yield OpenLane(files, instance)


def llmops(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def change(lane: OpenLane, file: str, before: str, after: str) -> None:
    path = lane.files.root / "data" / f"{file}.jsonl"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


SETS = ("corpus", "sft_set", "preference_set", "thumbs_set")


def test_every_set_has_a_card_and_tells_its_first_version_from_its_next(lane: OpenLane) -> None:
    assert lane.run(*SETS).success
    for asset in SETS:
        page = lane.metadata(asset)
        assert f"# {NAME}/{asset}" in page["card"] and "What people say" in page["card"]
        assert not page["card"].startswith("---") and str(lane.files.root) not in page["card"]
        assert "the first version" in page["changes"]
        printed = llmops("card", NAME, asset)
        assert printed.exit_code == 0, printed.output
        assert printed.output.startswith("---\n") and page["card"] in printed.output
    assert lane.run(*SETS).success
    assert all("says the same" in lane.metadata(asset)["changes"] for asset in SETS)

    change(lane, "documents", "Document 3. ", "Document three. ")
    change(lane, "chats", "What does item 3 do?", "What does item three do?")
    change(lane, "pairs", '"Thing 3?"', '"Thing three?"')
    change(lane, "thumbs", 'item 4.", "label": true', 'item 4.", "label": false')
    assert lane.run(*SETS).success
    assert "documents: 200 -> 200; 0 added, 0 removed, 1 changed, 0 moved" in lane.metadata("corpus")["changes"]
    assert "rows: 200 -> 200; 1 added, 1 removed, 0 changed" in lane.metadata("sft_set")["changes"]
    assert "rows: 40 -> 40; 1 added, 1 removed, 0 changed" in lane.metadata("preference_set")["changes"]
    assert "rows: 30 -> 30; 0 added, 0 removed, 1 changed" in lane.metadata("thumbs_set")["changes"]


def test_diff_compares_the_last_two_versions_or_those_that_are_named(lane: OpenLane) -> None:
    versions = []
    for before, after in (("item 3 ", "item three "), ("item 4 ", "item four "), ("item four ", "item 4 ")):
        change(lane, "chats", before, after)
        assert lane.run("sft_set").success
        versions.append(lane.artifact("sft_set").manifest.data_version)
    assert versions[0] == versions[2]
    printed = llmops("diff", NAME, "sft_set")
    assert printed.exit_code == 0, printed.output
    assert printed.output.startswith(f"{NAME}/sft_set: {versions[1][:12]} -> {versions[0][:12]}\n")
    assert "item four do?" in printed.output and "chats, " in printed.output
    other_way = llmops("diff", NAME, "sft_set", versions[0][:8], versions[1][:8])
    assert other_way.output.startswith(f"{NAME}/sft_set: {versions[0][:12]} -> {versions[1][:12]}\n")


def test_sets_and_versions_that_there_are_not_are_named_with_the_choices(lane: OpenLane) -> None:
    for arguments, said in (
        (("diff", NAME, "sft_set"), "has never been materialized"),
        (("card", NAME, "sft_adapter"), "no data set sft_adapter; choose from corpus, sft_set"),
    ):
        result = llmops(*arguments)
        assert result.exit_code == 1 and said in result.output
    assert lane.run("sft_set").success
    only = lane.artifact("sft_set").manifest.data_version[:12]
    assert f"no version before {only}" in llmops("diff", NAME, "sft_set").output
    assert f"newest first they are {only}" in llmops("diff", NAME, "sft_set", "0000000").output


def test_what_is_refused_changes_no_version_of_what_is_kept(lane: OpenLane) -> None:
    assert lane.run("corpus", "sft_set").success
    first = [lane.artifact(asset).manifest for asset in ("corpus", "sft_set")]
    for file in ("documents", "chats"):
        with (lane.files.root / "data" / f"{file}.jsonl").open("a") as stream:
            stream.write("{broken\n")
    assert lane.run("corpus", "sft_set").success
    second = [lane.artifact(asset).manifest for asset in ("corpus", "sft_set")]
    assert [m.data_version for m in first] == [m.data_version for m in second]
    assert all(m.summary["quarantined"]["invalid_json"] == 1 for m in second)
    # A version is told by its fingerprint too, the older of equal content as well.
    printed = llmops("diff", NAME, "sft_set", first[1].fingerprint[:12], second[1].fingerprint[:12])
    assert printed.exit_code == 0 and "0 added, 0 removed, 0 changed" in printed.output


def test_another_card_is_written_and_leaves_the_data_version_alone(lane: OpenLane) -> None:
    assert lane.run("sft_set").success
    first = lane.artifact("sft_set").manifest
    recipe = yaml.safe_load(lane.files.recipe_file.read_text())
    lane.files.recipe_file.write_text(yaml.safe_dump(recipe | {"card": {"contact": "ada@example.org"}}))
    assert lane.run("sft_set").success
    second = lane.artifact("sft_set").manifest
    assert lane.metadata("sft_set")["reused"] is False
    assert "| contact | ada@example.org |" in lane.metadata("sft_set")["card"]
    assert second.fingerprint != first.fingerprint and second.data_version == first.data_version
    assert lane.run("sft_set").success and lane.metadata("sft_set")["reused"] is True


def test_a_small_set_is_warned_about_and_builds(lane: OpenLane) -> None:
    result = lane.run("corpus", "sft_set", "preference_set")
    assert result.success
    checks = {
        evaluation.asset_key.path[-1]: evaluation
        for evaluation in result.get_asset_check_evaluations()
        if evaluation.check_name == "usual_size"
    }
    assert set(checks) == {"corpus", "sft_set", "preference_set"}
    for evaluation in checks.values():
        assert not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.WARN
    assert "Guides name 10,000 to 100,000 conversations" in (checks["sft_set"].description or "")
    assert lane.instance.get_latest_materialization_event(asset_key(NAME, "sft_set")) is not None


def test_the_page_of_a_set_shows_sources_lengths_and_turns(lane: OpenLane) -> None:
    assert lane.run("sft_set").success
    page = lane.metadata("sft_set")
    row = page["sources"].records[0].data
    assert (row["source"], row["read"], row["share"], row["asked"]) == ("chats", 200, "100.0%", "-")
    assert {record.data["of"] for record in page["tokens_of"].records} == {"a conversation", "an answer"}
    assert page["share_with_tools"] == 0 and "█" in page["answers_per_conversation"]
