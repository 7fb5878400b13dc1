"""Where the stages of a data set run: in this process, in several, or on a Ray cluster. The results are the same.

All that a stage asks for is a map that keeps the order of its items and looks only so far ahead that memory stays
bounded. Ray's tasks give it as they are; Ray Data would read the sources by itself, past the door that names file and
line of what it rejects.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from llmops_assets.errors import LlmopsError

Item = TypeVar("Item")
Result = TypeVar("Result")
# Items under way for each worker: one that it works on, and one that waits for it.
_AHEAD = 2


class UnknownWorkersError(LlmopsError):
    """A name that stands for no workers."""


class WorkersLost(LlmopsError):
    """The workers that were named are not there, or have died."""


class Workers(Protocol):
    """Something that applies a task to items."""

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield what `task` returns for each of `items`, in their order. All three are sent between processes."""
        ...


def workers_named(name: str) -> Workers:
    """Return the workers of a name: `local`, `processes:8` or `ray:64`; raises UnknownWorkersError for another one."""
    kind, _, number = name.partition(":")
    known: dict[str, Callable[[int], Workers]] = {"processes": Processes, "ray": RayTasks}
    if name == "local":
        return ThisProcess()
    if kind not in known or not number.isascii() or not number.isdigit() or int(number) < 1:
        raise UnknownWorkersError(
            f"{name!r} names no workers for data; use local, or a number of them: processes:8, ray:64"
        )
    return known[kind](int(number))


class ThisProcess:
    """Runs tasks in the process that asks."""

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        return map(task, items)


@dataclass(frozen=True)
class Processes:
    """Runs tasks in `count` processes of this machine, which end with the one that asks, however it ends."""

    count: int

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        from concurrent.futures import ProcessPoolExecutor
        from concurrent.futures.process import BrokenProcessPool
        from multiprocessing import get_context

        # A copy of a process that has threads may hang, so they start afresh.
        pool = ProcessPoolExecutor(self.count, get_context("spawn"), _begin, (task,))
        try:
            submit = lambda item: pool.submit(_run, item)  # noqa: E731
            yield from _in_order(items, submit, lambda future: future.result(), self.count * _AHEAD)
        except BrokenProcessPool as error:
            raise WorkersLost(
                f"a data worker died ({error}); if memory ran out, set LLMOPS_DATA_WORKERS=processes:N to fewer, or to "
                "local"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class RayTasks:
    """Runs `count` tasks at a time on a Ray cluster: the one of this job, that of RAY_ADDRESS, or this machine's."""

    count: int

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        import ray

        if not ray.is_initialized():
            try:
                ray.init(address="auto", log_to_driver=False)
            except ConnectionError as error:
                raise WorkersLost(
                    f"no Ray cluster answers ({error}); start one, name it in RAY_ADDRESS, or set "
                    "LLMOPS_DATA_WORKERS=local"
                ) from error
        # In a list it is sent as a reference, which a worker resolves once.
        shared = [ray.put(task)]
        remote = ray.remote(num_cpus=1, max_retries=3)(_apply)
        pending: list[Any] = []

        def submit(item: Item) -> Any:
            pending.append(remote.remote(shared, item))
            return pending[-1]

        def result(reference: Any) -> Any:
            found = ray.get(reference)
            pending.remove(reference)
            return found

        try:
            yield from _in_order(items, submit, result, self.count * _AHEAD)
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)


def _in_order(
    items: Iterable[Item], submit: Callable[[Item], Any], result: Callable[[Any], Result], ahead: int
) -> Iterator[Result]:
    waiting: deque[Any] = deque()
    for item in items:
        waiting.append(submit(item))
        if len(waiting) >= ahead:
            yield result(waiting.popleft())
    while waiting:
        yield result(waiting.popleft())


def _apply(shared: list[Any], item: Any) -> Any:
    return _resolved(shared[0])(item)


@lru_cache(maxsize=4)
def _resolved(reference: Any) -> Callable[[Any], Any]:
    import ray

    return ray.get(reference)


_task: Callable[[Any], Any] | None = None


def _begin(task: Callable[[Any], Any]) -> None:
    """Set up a worker process: take the task, and end when the process that asks does."""
    global _task
    _task = task
    # Each worker is one of as many as there are cores.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _run(item: Any) -> Any:
    assert _task is not None, "a worker begins with its task"
    return _task(item)
