"""Which GPUs a process would see, read from a recorded nvidia-smi."""

from pathlib import Path

import pytest

from llmops_assets.resources.gpus import GpuQueryFailed, visible_gpus

from .recorded_gpus import TWO_A10G, put_on_path

MIB = 1024**2


def test_all_gpus_are_found_with_their_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(tmp_path, monkeypatch)
    first, second = visible_gpus()
    assert (first.name, first.total, first.free) == ("GPU 0 (NVIDIA A10G)", 23028 * MIB, 22515 * MIB)
    assert second.free == 10240 * MIB


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        ("1", [1]),
        ("1,0", [1, 0]),
        ("", []),
        ("-1", []),
        ("0,7,1", [0]),
        ("GPU-9b7e", [1]),
        ("GPU-", []),
    ],
)
def test_cuda_visible_devices_chooses_and_orders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str, seen: list[int]
) -> None:
    put_on_path(tmp_path, monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.name for gpu in visible_gpus()] == [f"GPU {index} (NVIDIA A10G)" for index in seen]


def test_mig_slice_counts_as_a_gpu_of_unknown_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(tmp_path, monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-41b36d08")
    assert [(gpu.name, gpu.total) for gpu in visible_gpus()] == [("MIG-41b36d08", None)]


def test_size_that_nvidia_smi_does_not_tell_stays_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(tmp_path, monkeypatch, TWO_A10G.replace("23028, 22515", "[N/A], [N/A]"))
    assert visible_gpus()[0].free is None


def test_machine_without_nvidia_smi_or_devices_has_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []
    put_on_path(tmp_path, monkeypatch, "No devices were found\n", code=6)
    assert visible_gpus() == []


def test_broken_driver_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"
    put_on_path(tmp_path, monkeypatch, said, code=9)
    with pytest.raises(GpuQueryFailed, match=r"code 9 .*couldn't communicate.*check the NVIDIA driver"):
        visible_gpus()
