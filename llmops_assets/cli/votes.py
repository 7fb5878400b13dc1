"""Commands about votes."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from llmops_assets.cli.readable import readable, recipe_named


@click.group()
def votes() -> None:
    """Import, export, count and (in the demo lane) simulate votes."""


@votes.command("import")
@click.argument("recipe")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@readable
def import_votes(recipe: str, file: Path) -> None:
    """Import votes of a lane from JSONL; lines that cannot be used go to a quarantine file with their reason."""
    from llmops_assets.resources.defaults import feedback_resource

    with feedback_resource().open() as store:
        result = store.import_votes(file, recipe_named(recipe).name)
    click.echo(f"{result.accepted} votes imported, {result.duplicates} known already, {len(result.rejected)} refused")
    for line, reason in result.rejected:
        click.echo(f"{file}:{line}: {reason}", err=True)
    if result.rejected:
        raise click.ClickException(f"the refused lines are kept in {result.quarantine_path}; mend and import them")


@votes.command("export")
@click.argument("recipe")
@click.argument("file", type=click.Path(path_type=Path))
@readable
def export_votes(recipe: str, file: Path) -> None:
    """Write all votes of a lane, with their battles and versions, as JSONL that `import` takes back."""
    from llmops_assets.data.jsonl import write_jsonl
    from llmops_assets.resources.defaults import feedback_resource

    lane, count = recipe_named(recipe).name, 0

    def counted(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        nonlocal count
        for row in rows:
            count += row["record"] == "vote"
            yield row

    with feedback_resource().open() as store:
        try:
            write_jsonl(file, counted(store.export_votes(lane)))
        except OSError as error:
            raise click.ClickException(f"{file}: cannot be written ({error.strerror})") from error
    click.echo(f"{count} votes written to {file}")


@votes.command("stats")
@click.argument("recipe")
@click.option("--json", "as_json", is_flag=True, help="All figures and findings as JSON.")
@readable
def vote_stats(recipe: str, as_json: bool) -> None:
    """Print how far the votes of a lane can be trusted: counts, agreement, biases, and the limits with verdicts."""
    from llmops_assets.evaluation.preference_quality.presentation import terminal_lines
    from llmops_assets.evaluation.preference_quality.report import report_on_votes
    from llmops_assets.resources.defaults import feedback_resource

    lane = recipe_named(recipe)
    if lane.preferences is None:
        raise click.ClickException(f"recipe {lane.name}: has no section preferences, and so no votes")
    with feedback_resource().open() as store:
        report = report_on_votes(store, lane.name, lane.preferences, lane.base_model.name)
    if as_json:
        click.echo(report.model_dump_json(indent=2))
    else:
        click.echo("\n".join(terminal_lines(report)))
        click.echo("\nThese are the votes alone; the asset preference_report adds data sets and the lane's domain.")


@votes.command("simulate")
@click.argument("recipe", default="python_docs")
@click.option("--version", default=None, help="Label of the adapter to sample from; the SFT adapter by default.")
@readable
def simulate(recipe: str, version: str | None) -> None:
    """Let two samples of a version battle and record the verdicts of the rater labelled `simulated`."""
    import dagster as dg

    from llmops_assets.assets.simulated_votes import simulate_votes
    from llmops_assets.resources.defaults import artifact_store, feedback_resource
    from llmops_assets.resources.trainer import Trainer

    with dg.DagsterInstance.get() as instance, feedback_resource().open() as store:
        count = simulate_votes(
            instance, recipe_named(recipe), version=version, artifacts=artifact_store(), trainer=Trainer(), store=store
        )
    click.echo(f"{count} simulated votes are in the store")
