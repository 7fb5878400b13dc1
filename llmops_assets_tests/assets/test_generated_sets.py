"""Rows that a model writes, in the graph: made once, shown with what they cost, and taken into the SFT set."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from llmops_assets.assets.lineage import asset_key
from llmops_assets.assets.sources import SOURCE_FACTS
from llmops_assets.definitions import lane as lane_definitions
from llmops_assets.recipe import load_recipe
from llmops_assets.resources.defaults import default_resources
from llmops_assets_tests.assets.conftest import OpenLane
from llmops_assets_tests.assets.tiny_lane import NAME, make_tiny_lane
from llmops_assets_tests.data.generation.chat_server import ChatServer, chat_server, writer
from llmops_assets_tests.data.self_instruct.test_pipeline import SEEDS

CANARY = "sk-canary-c04d"
SEEDS_KEY = dg.AssetKey([NAME, "instructions_sources", "seeds"])


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server(writer) as running:
        yield running


@pytest.fixture
def lane(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenLane]:
    """A lane that has built nothing, whose SFT set takes instructions and grounded pairs of an endpoint."""
    files = make_tiny_lane(tmp_path / "lane")
    files.take_over(monkeypatch)
    monkeypatch.setenv("CANARY_KEY", CANARY)
    seeds = (json.dumps({"id": f"s{number}", "instruction": text}) + "\n" for number, text in enumerate(SEEDS))
    (files.root / "data" / "seeds.jsonl").write_text("".join(seeds))
    generator = {"kind": "endpoint", "base_url": server.base_url, "model": "m", "api_key_env": "CANARY_KEY"}
    terms = {"generator": generator, "generator_license": "Apache-2.0"}
    recipe = yaml.safe_load(files.recipe_file.read_text())
    recipe["instructions"] = terms | {"seeds": {"pattern": "../../data/seeds.jsonl"}, "target": 20}
    recipe["grounded_pairs"] = terms | {"target": 20, "min_chunk_words": 5, "min_span_overlap": 0.5}
    recipe["sft_set"]["max_tokens"] = 400
    recipe["sft_set"]["sources"] += [
        {"kind": "self_instruct", "name": "made"},
        {"kind": "grounded", "name": "asked"},
    ]
    files.recipe_file.write_text(yaml.safe_dump(recipe))
    with dg.DagsterInstance.get() as instance:
        yield OpenLane(files, instance)


def change(lane: OpenLane, section: str, **keys: Any) -> None:
    recipe = yaml.safe_load(lane.files.recipe_file.read_text())
    recipe[section] |= keys
    lane.files.recipe_file.write_text(yaml.safe_dump(recipe))


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_sft_set_depends_on_what_a_model_writes_and_local_models_take_the_gpu_pool(lane: OpenLane) -> None:
    local = {"kind": "local", "name": "embedded"}
    change(lane, "grounded_pairs", generator=local)
    loaded = lane_definitions(load_recipe(lane.files.recipe_file))
    definitions = dg.Definitions.merge(loaded, dg.Definitions(resources=default_resources()))
    graph = definitions.resolve_asset_graph()
    parents = {key.path[-1] for key in graph.get(asset_key(NAME, "sft_set")).parent_keys}
    assert parents == {"instructions", "grounded_pairs", "chats"}
    pools = {name: graph.get(asset_key(NAME, name)).pools for name in ("instructions", "grounded_pairs")}
    assert pools == {"instructions": set(), "grounded_pairs": {"gpu"}}
    job = definitions.resolve_job_def(f"{NAME}_build")
    steps = {f"{NAME}__instructions_sources__seeds", f"{NAME}__instructions", f"{NAME}__grounded_pairs"}
    assert steps <= {node.name for node in job.nodes}
    assert graph.get(asset_key(NAME, "instructions")).parent_keys == {SEEDS_KEY}


def test_what_a_model_wrote_reaches_the_sft_set_with_its_name_and_side(lane: OpenLane, server: ChatServer) -> None:
    assert lane.run("corpus", "instructions", "grounded_pairs", "sft_set").success
    made = rows(lane.artifact("instructions").folder / "rows.jsonl")
    grounded = {f"asked/{row['id']}": row for row in rows(lane.artifact("grounded_pairs").folder / "rows.jsonl")}
    folder = lane.artifact("sft_set").folder
    sides = {"train": rows(folder / "train.jsonl"), "heldout": rows(folder / "heldout.jsonl")}
    label = made[0]["generator"]
    assert label.startswith("m@127.0.0.1:")
    for side, found in sides.items():
        for row in found:
            if row["source"] == "asked":
                assert (grounded[row["id"]]["split"], row["generator"]) == (side, label)
    assert {row["source"] for row in sides["train"]} == {"chats", "made", "asked"}
    summary = lane.artifact("sft_set").manifest.summary
    assert set(summary["generators"]) == {"dataset", label}
    # Nobody has said under what the seeds and the documents are.
    assert summary["licenses"]["made"] == summary["licenses"]["asked"] == "Apache-2.0 AND unknown"
    instructions = lane.artifact("instructions").manifest
    assert lane.artifact("sft_set").manifest.inputs["instructions"] == instructions.data_version


def test_the_page_shows_accounts_reasons_and_examples(lane: OpenLane, server: ChatServer) -> None:
    assert lane.run("instructions").success
    page = lane.metadata("instructions")
    assert page["dagster/row_count"] >= 20
    assert page["stopped"] == f"there are {page['dagster/row_count']} rows, and the target is 20"
    assert page["requests/sent"] == len(server.asked) and page["requests/from_cache"] == 0
    assert "assistant" in page["examples"] and "0.0-0.1" in page["rouge_to_nearest_seed"]
    assert {"counts", "rejected", "spent", "first_words", "licenses", "generators"} <= set(page)
    [seeds] = page[SOURCE_FACTS].records
    assert (seeds.data["source"], seeds.data["records"], seeds.data["files"]) == ("seeds", len(SEEDS), 1)
    manifest = lane.artifact("instructions").manifest
    [facts] = manifest.summary[SOURCE_FACTS]
    assert facts["content_hash"] == seeds.data["content_hash"] == manifest.inputs["source/seeds"]


def test_only_what_answers_depend_on_makes_another_set_and_the_cache_pays_for_it(
    lane: OpenLane, server: ChatServer
) -> None:
    assert lane.run("instructions").success
    asked = len(server.asked)
    generator = yaml.safe_load(lane.files.recipe_file.read_text())["instructions"]["generator"]
    change(lane, "instructions", generator=generator | {"concurrency": 2, "timeout_seconds": 9})
    assert lane.run("instructions").success
    assert lane.metadata("instructions")["reused"] is True
    assert lane.run("instructions", config={"instructions": {"target": 15}}).success
    assert lane.metadata("instructions")["reused"] is False
    assert lane.metadata("instructions")["requests/sent"] == 0 and len(server.asked) == asked
    change(lane, "instructions", generator=generator | {"model": "another"})
    assert lane.run("instructions").success
    assert lane.metadata("instructions")["requests/from_cache"] == 0 and len(server.asked) > asked


def test_too_few_rows_fail_the_asset_with_the_reason_and_no_file_holds_the_key(
    lane: OpenLane, server: ChatServer
) -> None:
    message = lane.complaint("instructions", config={"instructions": {"max_requests": 12, "min_accepted": 19}})
    assert "min_accepted is 19" in message and "max_requests = 12 is used up" in message
    for file in (path for path in lane.files.root.rglob("*") if path.is_file()):
        assert CANARY.encode() not in file.read_bytes(), file
    assert f"Bearer {CANARY}" in server.keys


def test_a_local_model_answers_in_a_process_of_the_gpu_pool(lane: OpenLane) -> None:
    """A random model of two layers writes nothing that can be used; it is asked, and that is said."""
    sampling = {"temperature": 1.0, "max_tokens": 16}
    local = {"kind": "local", "name": str(lane.files.root / "base"), "precision": "fp32"}
    change(
        lane,
        "instructions",
        **{"generator": local, "accept_window": 16, "instruction_sampling": sampling},
        **{"human_examples": 1, "machine_examples": 0},
    )
    message = lane.complaint("instructions")
    assert "0 of the last 16 instructions were accepted" in message and "not_understood 16" in message
