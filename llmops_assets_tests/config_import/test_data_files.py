"""Converted rows: every data set has a file of its own, and no file is ever written to twice."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmops_assets.config_import.data_files import write_new
from llmops_assets_tests.config_import.conftest import Desk
from llmops_assets_tests.config_import.test_hydra_and_kubeflow import PIPELINE

Make = Callable[..., dict[str, Any]]


def register(folder: Path, name: str, rows: list[dict[str, Any]], **entry: Any) -> None:
    """Write `rows` as a JSON list and a registry that knows it as `name`."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(rows))
    registry = {name: {"file_name": f"{name}.json", **entry}}
    (folder / "dataset_info.json").write_text(json.dumps(registry))


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_sets_of_one_name_in_two_folders_are_two_files(desk: Desk, llama_factory: Make) -> None:
    register(desk.folder / "raw", "own", [{"body": "A text."}], columns={"prompt": "body"})
    register(desk.folder / "chats", "own", [{"instruction": "Hi?", "input": "", "output": "Hello."}])
    pt = desk.write("pt.yaml", llama_factory("pt", dataset="own", dataset_dir="raw"))
    keys = {"dataset": "own", "dataset_dir": "chats", "adapter_name_or_path": "saves/pt"}
    recipe, result = desk.bring(pt, desk.write("sft.yaml", llama_factory("sft", **keys)))
    assert [file.name for file in result.data_files] == ["corpus-own.jsonl", "sft_set-own.jsonl"]
    assert rows_of(result.data_files[0]) == [{"text": "A text."}]
    assert rows_of(result.data_files[1])[0]["messages"][1]["content"] == "Hello."
    assert recipe.corpus is not None


def test_names_that_become_one_source_are_refused(desk: Desk, llama_factory: Make) -> None:
    entry = {"file_name": "alpaca.json"}
    (desk.folder / "data" / "dataset_info.json").write_text(json.dumps({"My set": entry, "my-set": entry}))
    message = desk.complaint(desk.write("sft.yaml", llama_factory(dataset=["My set", "my-set"])))
    assert "my-set: two data sets would be the source my-set" in message


def test_a_file_of_an_import_before_is_never_overwritten(desk: Desk, llama_factory: Make) -> None:
    config = desk.write("sft.yaml", llama_factory(dataset="alpaca"))
    _, result = desk.bring(config)
    [file] = result.data_files
    assert desk.bring(config)[1].data_files == (file,)
    file.write_text('{"messages": "edited by hand"}\n')
    (desk.folder / "recipes" / "lane.yaml").unlink()
    with pytest.raises(Exception, match=f"{file} is there already and holds something else"):
        desk.bring(config)
    assert file.read_text() == '{"messages": "edited by hand"}\n'
    assert not (desk.folder / "recipes" / "lane.yaml").exists()


def test_data_of_two_pipeline_runs_that_both_have_to_be_converted_are_refused(desk: Desk) -> None:
    paths = []
    for stage in ("SFT", "KD"):
        data = desk.folder / f"{stage}.json"
        data.write_text(json.dumps([{"prompt": stage, "completion": "B."}]))
        paths.append(desk.write(f"{stage}.yaml", {**PIPELINE, "train_type": stage, "data": str(data)}))
    assert "its rows would take the place of other ones" in desk.complaint(*paths)


def test_all_files_are_written_or_none(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_bytes(b"before")
    with pytest.raises(FileExistsError):
        write_new({tmp_path / "folder" / "new": b"after", taken: b"after"})
    assert taken.read_bytes() == b"before"
    assert not (tmp_path / "folder" / "new").exists()


def test_the_command_says_that_rows_were_copied_to_where_git_tracks_them(desk: Desk, llama_factory: Make) -> None:
    converted = desk.bring(desk.write("sft.yaml", llama_factory(dataset="alpaca")))[1].report_text()
    assert f"rows of your data sets are copied into {desk.folder / 'recipes' / 'lane_data'}, which git" in converted
    assert "are copied into" not in desk.bring(desk.write("sft.yaml", llama_factory()))[1].report_text()
