"""The short version of `make chaos`: a few faults, once each, on one instance; and the table that it prints."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops_assets_tests.assets.conftest import built_lane
from llmops_assets_tests.assets.tiny_lane import TinyLane
from llmops_assets_tests.chaos.matrix import FAULTS, Row
from llmops_assets_tests.chaos.observations import champion_of, observe
from llmops_assets_tests.chaos.table import markdown_table
from llmops_assets_tests.chaos.world import Surroundings, World, world

__all__ = ["built_lane"]


@pytest.fixture(scope="module")
def instance(built_lane: TinyLane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(built_lane.root, tmp_path_factory.mktemp("chaos"), Surroundings()) as here:
        here.services.start()
        yield here


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["cancel before training", pytest.param("kill -9 run worker", marks=pytest.mark.slow)])
def test_nothing_is_left_lost_or_wrong_after(name: str, instance: World) -> None:
    before = champion_of(instance)

    trial = FAULTS[name].apply(instance, 0)

    assert observe(instance, trial, before).all() == []


def test_a_row_with_anything_wrong_is_not_clean_and_shows_its_count() -> None:
    wrong = Row(fault="power cut", right="SUCCESS", repetitions=2, recovery_seconds=[1.0, 4.0])
    wrong.findings["votes_lost"] = 3
    left_out = Row(fault="flood", right="SUCCESS", skipped="needs water")

    assert not wrong.is_clean
    assert left_out.is_clean
    *_, first, second = markdown_table([wrong, left_out]).splitlines()
    assert first == "| power cut | SUCCESS | 2 | 0 | 0 | 0 | 3 | 0 | 0 | 0 | 2.5 s |"
    assert second.startswith("| flood | SUCCESS | left out: needs water |")


def test_findings_of_rows_are_counted_apart() -> None:
    first, second = Row(fault="a", right=""), Row(fault="b", right="")

    first.findings["orphans"] += 1

    assert second.is_clean


def test_a_repetition_that_did_not_settle_counts_as_wrong() -> None:
    row = Row(fault="power cut", right="SUCCESS", repetitions=1, unfinished=1)

    assert not row.is_clean
    assert "| power cut | SUCCESS | 1 | 0 | 1 |" in markdown_table([row])


def test_the_faults_have_names_of_their_own() -> None:
    folders = {name.replace(" ", "-") for name in FAULTS}
    assert len(folders) == len(FAULTS)
    assert all(Path(folder).name == folder for folder in folders)
