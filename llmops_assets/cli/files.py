"""Commands about files of records."""

from pathlib import Path
from typing import Any

import click

from llmops_assets.cli.readable import readable
from llmops_assets.errors import LlmopsError

# Those of data/inspection.py, which is loaded by the commands that need it.
KINDS = ["corpus", "sft", "thumbs", "preferences", "eval"]


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--as", "kind", default=None, type=click.Choice(KINDS))
@click.option("--format", "layout", default="auto", show_default=True, help="Layout of the records; docs/data.md.")
@readable
def validate(files: tuple[Path, ...], kind: Any, layout: str) -> None:
    """Say what files of records hold, in which layout, and name every record that cannot be used, with its line."""
    from llmops_assets.data.inspection import read_uniform

    problems = broken = 0
    for file in files:
        try:
            report, rows = read_uniform(file, kind, layout)
            for row in rows:
                if not isinstance(row, dict):
                    click.echo(f"{file}:{row.line}: {row.reason}: {row.detail}", err=True)
        except LlmopsError as error:
            click.echo(str(error), err=True)
            broken += 1
            continue
        click.echo(report.sentence())
        problems += len(report.problems)
    if problems or broken:
        raise click.ClickException(f"{problems} records and {broken} files cannot be used; mend or remove them")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--as", "kind", default=None, type=click.Choice(KINDS))
@click.option("--format", "layout", default="auto", show_default=True, help="Layout of the records; docs/data.md.")
@readable
def convert(file: Path, out: Path, kind: Any, layout: str) -> None:
    """Write the records of FILE to OUT as JSON Lines in the layout of their kind.

    Records that cannot be used go to OUT.quarantine.jsonl with file, line and reason.
    """
    from llmops_assets.data.inspection import read_uniform
    from llmops_assets.data.jsonl import write_jsonl

    quarantine = out.with_name(f"{out.name}.quarantine.jsonl")
    for taken in (out, quarantine):
        if taken.exists():
            raise click.ClickException(f"{taken} exists; name a new file, or remove it")
    report, rows = read_uniform(file, kind, layout)
    written = write_jsonl(out, (row for row in rows if isinstance(row, dict)))
    click.echo(report.sentence())
    click.echo(f"{written} records written to {out}")
    if report.problems:
        write_jsonl(quarantine, (problem.to_row() for problem in report.problems))
        raise click.ClickException(f"{len(report.problems)} records are in {quarantine}; mend and convert them")
