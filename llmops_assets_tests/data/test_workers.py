import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from llmops_assets.data.corpus.building import build_corpus
from llmops_assets.data.sources.specs import PythonTopicsSource, TextFilesSource
from llmops_assets.data.specs import CorpusSpec
from llmops_assets.data.workers import Processes, ThisProcess, UnknownWorkersError, Workers, WorkersLost, workers_named

Files = Callable[..., TextFilesSource]


def _squared(number: int) -> int:
    time.sleep(0.02 * (number % 3))
    return number * number


def _process(_: int) -> int:
    return os.getpid()


def _failing(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number


@pytest.mark.parametrize("workers", [ThisProcess(), Processes(2)])
def test_results_come_in_the_order_of_the_items(workers: Workers) -> None:
    assert list(workers.map(_squared, range(10))) == [number * number for number in range(10)]


def test_several_processes_work_and_are_gone_afterwards() -> None:
    used = set(Processes(2).map(_process, range(8)))
    assert os.getpid() not in used and 1 <= len(used) <= 2
    assert not any(psutil.pid_exists(pid) for pid in used)


def test_no_more_items_are_taken_than_can_be_worked_on() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = Processes(2).map(_squared, items())
    assert next(results) == 0 and len(taken) <= 4
    results.close()  # pyright: ignore[reportAttributeAccessIssue]


def test_an_error_of_a_task_reaches_the_one_who_asked() -> None:
    with pytest.raises(ValueError, match="three"):
        list(Processes(2).map(_failing, range(6)))


def _dying(_: int) -> int:
    os._exit(9)


def test_a_worker_that_dies_is_a_sentence_that_says_what_to_set() -> None:
    with pytest.raises(WorkersLost, match="LLMOPS_DATA_WORKERS=processes:N"):
        list(Processes(1).map(_dying, range(2)))


def test_workers_end_with_a_process_that_is_killed() -> None:
    code = (
        "import time\nfrom llmops_assets.data.workers import Processes\n"
        "from llmops_assets_tests.data.test_workers import _process\n"
        "results = Processes(1).map(_process, range(9**9))\n"
        "if __name__ == '__main__':\n    print(next(results), flush=True); time.sleep(60)\n"
    )
    asking = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert asking.stdout is not None
    worker = int(asking.stdout.readline())
    asking.send_signal(signal.SIGKILL)
    asking.wait()
    deadline = time.monotonic() + 20
    while psutil.pid_exists(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(worker)


@pytest.mark.parametrize("name", ["", "process:2", "processes", "processes:0", "ray:x", "ray:²"])
def test_an_unknown_name_is_an_error_that_names_the_choices(name: str) -> None:
    with pytest.raises(UnknownWorkersError, match=r"local, or a number of them: processes:8, ray:64"):
        workers_named(name)


def test_a_corpus_is_the_same_whoever_works_on_it(tmp_path: Path, tokenizer_file: Path, corpus: Path) -> None:
    spec = CorpusSpec(min_words=8, heldout_share=0.2)
    build_corpus([PythonTopicsSource(name="topics")], spec, tokenizer_file, tmp_path, tmp_path, workers=Processes(2))
    files = sorted(path.name for path in corpus.iterdir())
    assert files == sorted(path.name for path in tmp_path.iterdir())
    for name in files:
        assert (corpus / name).read_bytes() == (tmp_path / name).read_bytes()
