"""The artifact store: complete or absent, verified, built once."""

import multiprocessing
import tempfile
import time
from pathlib import Path

import pytest

from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.feedback.specs import PreferenceSetSpec
from llmops_assets.resources.artifacts import Artifact, ArtifactMissing, ArtifactStore, BuildSlot, CorruptArtifact


def request(share: float = 0.1, **inputs: str) -> BuildRequest:
    return BuildRequest(
        recipe="lane", asset="thing", spec=PreferenceSetSpec(sealed_share=share), inputs=inputs, code_version="1"
    )


def write(text: str):
    def build(slot: BuildSlot) -> Built:
        (slot.output / "a.txt").write_text(text)
        return Built(summary={"length": len(text)})

    return build


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    root = str(tmp_path / "artifacts") if request.param == "local" else f"memory://{tmp_path.name}"
    return ArtifactStore(root=root, staging=str(tmp_path / "staging"))


def test_the_same_request_is_built_once(store: ArtifactStore) -> None:
    first, reused_first = build_once(store, request(x="1"), write("one"))
    second, reused_second = build_once(store, request(x="1"), write("two"))
    assert (reused_first, reused_second) == (False, True)
    assert (second.folder / "a.txt").read_text() == "one"
    assert second.manifest == first.manifest


@pytest.mark.parametrize("changed", [request(0.2, x="1"), request(x="2"), request(x="1", y="1")])
def test_another_spec_or_input_is_another_artifact(store: ArtifactStore, changed: BuildRequest) -> None:
    build_once(store, request(x="1"), write("one"))
    assert not build_once(store, changed, write("two"))[1]


def test_equal_content_from_another_input_has_the_same_data_version(store: ArtifactStore) -> None:
    one, _ = build_once(store, request(x="1"), write("same"))
    two, _ = build_once(store, request(x="2"), write("same"))
    assert one.manifest.data_version == two.manifest.data_version
    assert one.manifest.fingerprint != two.manifest.fingerprint


def test_a_failed_build_publishes_nothing_and_keeps_its_scratch(store: ArtifactStore) -> None:
    def fail(slot: BuildSlot) -> Built:
        (slot.scratch / "checkpoint").write_text("step 10")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        build_once(store, request(x="1"), fail)
    assert store.find("lane", "thing", request(x="1").fingerprint) is None

    def resume(slot: BuildSlot) -> Built:
        (slot.output / "a.txt").write_text((slot.scratch / "checkpoint").read_text())
        return Built(summary={})

    artifact, _ = build_once(store, request(x="1"), resume)
    assert (artifact.folder / "a.txt").read_text() == "step 10"


@pytest.mark.parametrize("damage", ["change", "remove", "manifest"])
def test_a_corrupted_artifact_is_refused_with_file_and_advice(tmp_path: Path, damage: str) -> None:
    store = ArtifactStore(root=str(tmp_path / "artifacts"), staging=str(tmp_path / "staging"))
    artifact, _ = build_once(store, request(x="1"), write("one"))
    file = artifact.folder / ("manifest.json" if damage == "manifest" else "a.txt")
    file.unlink() if damage == "remove" else file.write_text("{}")
    with pytest.raises(CorruptArtifact, match=f"{file.name}.*delete the folder"):
        build_once(store, request(x="1"), write("two"))


def test_a_folder_without_manifest_is_not_an_artifact(tmp_path: Path) -> None:
    store = ArtifactStore(root=str(tmp_path / "artifacts"), staging=str(tmp_path / "staging"))
    artifact, _ = build_once(store, request(x="1"), write("one"))
    (artifact.folder / "manifest.json").unlink()
    assert store.find("lane", "thing", artifact.manifest.fingerprint) is None
    with pytest.raises(ArtifactMissing, match="materialize lane/thing again"):
        store.get("lane", "thing", artifact.manifest.fingerprint)
    assert not build_once(store, request(x="1"), write("two"))[1]


def _build_slowly(folder: Path, queue: "multiprocessing.Queue[bool]") -> None:
    store = ArtifactStore(root=str(folder / "artifacts"), staging=str(folder / "staging"))

    def build(slot: BuildSlot) -> Built:
        time.sleep(0.5)
        (slot.output / "a.txt").write_text("built")
        return Built(summary={})

    artifact, reused = build_once(store, request(x="1"), build)
    assert isinstance(artifact, Artifact)
    queue.put(reused)


def test_two_processes_that_want_the_same_artifact_build_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=_build_slowly, args=(tmp_path, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    outcomes = sorted(queue.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert outcomes == [False, True]


def test_what_a_builder_left_that_was_killed_just_before_the_rename_is_no_file_of_the_next(
    store: ArtifactStore,
) -> None:
    asked = request(x="1")
    with store.building("lane", "thing", asked.fingerprint) as slot:
        (slot.output / "a.txt").write_text("one")
        (slot.output / "manifest.json").write_text("{}")

    artifact, _ = build_once(store, asked, write("one"))

    assert set(artifact.manifest.files) == {"a.txt"}
    found = store.find("lane", "thing", asked.fingerprint)
    assert found is not None
    assert found.manifest == artifact.manifest


def test_artifacts_may_lie_on_another_disk_than_the_builds(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second local file system, /dev/shm")
    with tempfile.TemporaryDirectory(dir=other) as root:
        store = ArtifactStore(root=root, staging=str(tmp_path / "staging"))

        artifact, _ = build_once(store, request(x="1"), write("one"))

        assert artifact.folder.is_relative_to(root)
        assert [path.name for path in artifact.folder.parent.iterdir()] == [artifact.folder.name]
        assert store.find("lane", "thing", request(x="1").fingerprint) is not None


def test_an_artifact_is_found_by_its_content(store: ArtifactStore) -> None:
    built = [build_once(store, request(x=text), write(text))[0] for text in ("one", "two")]
    for artifact in built:
        found = store.find_version("lane", "thing", artifact.manifest.data_version)
        assert found is not None and found.manifest == artifact.manifest
    assert store.find_version("lane", "thing", "0" * 64) is None
    assert store.find_version("lane", "nothing", "0" * 64) is None
