"""All faults by name, and one row of the table: a fault applied again and again, each time observed."""

import shutil
import subprocess
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel

from llmops_assets_tests.chaos.automation_faults import AUTOMATION_FAULTS
from llmops_assets_tests.chaos.clock_faults import CLOCK_FAULTS
from llmops_assets_tests.chaos.fault import Fault
from llmops_assets_tests.chaos.observations import COLUMNS, Findings, champion_of, observe
from llmops_assets_tests.chaos.ray_faults import RAY_FAULTS
from llmops_assets_tests.chaos.run_faults import RUN_FAULTS
from llmops_assets_tests.chaos.service_faults import SERVICE_FAULTS
from llmops_assets_tests.chaos.store_faults import STORE_FAULTS
from llmops_assets_tests.chaos.world import World, world

FAULTS = {
    fault.name: fault
    for fault in [*RUN_FAULTS, *SERVICE_FAULTS, *STORE_FAULTS, *AUTOMATION_FAULTS, *CLOCK_FAULTS, *RAY_FAULTS]
}


class Row(BaseModel):
    """One line of the table.

    Attributes:
        findings: Number of things that were wrong, by column, over all repetitions.
        unfinished: Repetitions that raised instead of settling; they count as wrong.
        recovery_seconds: One figure per repetition that settled.
        sentences: What was wrong, with the folder that keeps the logs.
    """

    fault: str
    right: str
    repetitions: int = 0
    skipped: str | None = None
    findings: dict[str, int] = dict.fromkeys(COLUMNS, 0)
    unfinished: int = 0
    recovery_seconds: list[float] = []
    sentences: list[str] = []

    @property
    def is_clean(self) -> bool:
        """Whether nothing at all was wrong; a fault that could not be applied here is not wrong."""
        return not self.unfinished and not any(self.findings.values())


def run_row(fault: Fault, built_lane: Path, folder: Path, repetitions: int, say: Callable[[str], None]) -> Row:
    """Apply `fault` `repetitions` times to an instance under `folder`, made anew after a repetition that broke it.

    A repetition that raises is counted and described, and does not end the row. Logs of everything that was wrong stay
    in `folder`/evidence.
    """
    row = Row(fault=fault.name, right=fault.right, skipped=fault.why_not())
    if row.skipped is not None:
        say(f"{fault.name}: left out, {row.skipped}")
        return row
    while row.repetitions < repetitions:
        with _instance(fault, built_lane, folder / "instance") as here:
            settled = True
            while settled and row.repetitions < repetitions:
                settled = _repeat(fault, here, row, folder / "evidence" / str(row.repetitions), say)
    return row


def _repeat(fault: Fault, here: World, row: Row, evidence: Path, say: Callable[[str], None]) -> bool:
    """One repetition, added to `row`; returns whether the instance can be used for the next one."""
    number = row.repetitions
    row.repetitions += 1
    before = champion_of(here)
    known = {run.run_id for run in here.instance.get_runs()}
    try:
        trial = fault.apply(here, number)
        findings = observe(here, trial, before)
    except Exception as error:
        row.unfinished += 1
        _keep(here, known, evidence, traceback.format_exc())
        row.sentences.append(f"repetition {number}: {type(error).__name__}: {error} (logs: {evidence})")
        say(f"{fault.name} {number + 1}: {row.sentences[-1]}")
        return False
    row.recovery_seconds.append(trial.recovery_seconds)
    _count(row, findings)
    wrong = findings.all()
    if wrong:
        _keep(here, known, evidence, "\n".join(wrong))
        row.sentences += [f"repetition {number}: {sentence} (logs: {evidence})" for sentence in wrong]
    say(f"{fault.name} {number + 1}: {'; '.join(wrong) or 'right'}, {trial.recovery_seconds:.1f} s")
    return fault.reusable and not wrong


def _count(row: Row, findings: Findings) -> None:
    for column in COLUMNS:
        row.findings[column] += len(getattr(findings, column))


def _keep(here: World, known: set[str], evidence: Path, text: str) -> None:
    evidence.mkdir(parents=True, exist_ok=True)
    (evidence / "what.txt").write_text(text)
    run_ids = [run.run_id for run in here.instance.get_runs() if run.run_id not in known]
    for log in here.evidence(run_ids):
        if log.is_file():
            shutil.copy(log, evidence / log.name)
    for run_id in run_ids:
        events = [f"{entry.timestamp:.3f} {entry.message}" for entry in here.instance.all_logs(run_id)]
        (evidence / f"{run_id}.events").write_text("\n".join(events))


@contextmanager
def _instance(fault: Fault, built_lane: Path, root: Path) -> Iterator[World]:
    """A fresh instance for `fault`, its services started where the fault wants them, gone when the block ends."""
    shutil.rmtree(root, ignore_errors=True)
    with (
        _state_folder(root / "state", fault.state_megabytes),
        fault.surroundings(root) as surroundings,
        world(built_lane, root, surroundings) as here,
    ):
        if fault.services:
            here.services.start()
        yield here
    shutil.rmtree(root, ignore_errors=True)


@contextmanager
def _state_folder(folder: Path, megabytes: int) -> Iterator[None]:
    folder.mkdir(parents=True)
    if not megabytes:
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        # Lazily, because a process that was killed a moment ago may still hold a file there.
        subprocess.run(["umount", "-l", str(folder)], check=True)
