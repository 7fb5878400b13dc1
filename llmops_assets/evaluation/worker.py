"""`python -m llmops_assets.evaluation.worker job.json`: measures one adapter and writes its scores."""

import sys
from collections.abc import Sequence
from pathlib import Path

from llmops_assets.evaluation.job import EvaluationJob, read_job, write_result
from llmops_assets.evaluation.process import run_process


def main(arguments: Sequence[str]) -> int:
    """Read the job file named by the only argument, measure, and write the scores atomically."""
    return run_process("llmops_assets.evaluation.worker", arguments, _measure)


def _measure(job_file: Path) -> None:
    job = read_job(job_file, EvaluationJob)
    from llmops_assets.evaluation.measure import evaluate

    write_result(job.output_file, evaluate(job).model_dump_json(indent=1))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
