"""`llmops`: what the Dagster command line does not do: the demo, votes, recipes and the embedded base model."""

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import click

from llmops_assets.errors import LlmopsError
from llmops_assets.settings import configs_dir, state_dir

# Those of data/inspection.py, which is loaded by the commands that need it.
KINDS = ["corpus", "sft", "thumbs", "preferences", "eval"]


def main() -> None:
    """Entry point: point Dagster at this project unless the caller already points it somewhere, then dispatch."""
    os.environ.setdefault("DAGSTER_HOME", str(Path(__file__).resolve().parent.parent))
    os.environ.setdefault("LLMOPS_STATE_DIR", str(state_dir()))
    # A service manager sends SIGTERM, a closed terminal SIGHUP, and `&` in a script leaves SIGINT ignored: all of them
    # must clean up as Ctrl-C does.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    cli()


def _readable(command: Callable[..., Any]) -> Callable[..., Any]:
    """Print the project's own errors as one message with exit code 1; anything else is a defect and keeps its trace."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except LlmopsError as error:
            raise click.ClickException(str(error)) from error

    return run


@click.group()
def cli() -> None:
    """LLM post-training as a Dagster asset graph."""


@cli.command()
@click.argument("recipe", default="python_docs")
@_readable
def demo(recipe: str) -> None:
    """Run a lane end to end: build v1.0, simulate votes, let the sensor start DPO, print the table."""
    from llmops_assets.demo import run_demo

    sys.exit(run_demo(_recipe(recipe)))


@cli.command()
@click.option("--instance", default=None, help="A name under configs/instances/; without it, what DAGSTER_HOME says.")
@click.option("--dagster-port", default=3000, show_default=True)
@click.option("--mlflow-port", default=5000, show_default=True)
@_readable
def dev(instance: str | None, dagster_port: int, mlflow_port: int) -> None:
    """Serve the Dagster UI (with its daemon) and the MLflow UI until Ctrl-C."""
    from llmops_assets.dev_servers import run_dev_servers
    from llmops_assets.instances import use_instance

    use_instance(instance)
    run_dev_servers(dagster_port, mlflow_port)


@cli.command()
@click.argument("recipe", default="python_docs")
@_readable
def report(recipe: str) -> None:
    """Print the table base -> CPT -> SFT -> DPO of a lane, from its newest reports."""
    import dagster as dg

    from llmops_assets.assets.chain_report import lane_table
    from llmops_assets.resources.defaults import artifact_store

    with dg.DagsterInstance.get() as instance:
        click.echo(lane_table(instance, artifact_store(), _recipe(recipe)))


@cli.command("check-recipe")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@_readable
def check_recipe(files: tuple[Path, ...]) -> None:
    """Validate recipe files; every problem is named with file, line and key."""
    from llmops_assets.recipe import load_recipe

    for file in files:
        click.echo(f"{file}: recipe {load_recipe(file).name} is valid")


@cli.command()
@click.argument("recipe")
@click.argument("name", required=False)
@click.option("--point", "chosen", multiple=True, help="Only this point; may be given several times.")
@click.option("--show", is_flag=True, help="Print the table of what has been trained so far, and launch nothing.")
@click.option("--instance", default=None, help="A name under configs/instances/; without it, what DAGSTER_HOME says.")
@_readable
def sweep(recipe: str, name: str | None, chosen: tuple[str, ...], show: bool, instance: str | None) -> None:
    """Queue one run for each point of a sweep, in the gpu pool; docs/sweeps.md."""
    from llmops_assets.automation.sweep_launch import sweep_lines
    from llmops_assets.instances import use_instance

    use_instance(instance)
    for line in sweep_lines(_recipe(recipe), name, chosen, show=show):
        click.echo(line)


@cli.command("import-config", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", metavar="FILE... [--key=value]...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--name", default=None, help="Name of the lane; without it, that of the first file.")
@click.option("--out", default=None, type=click.Path(path_type=Path), help="Recipe file; else under configs/recipes/.")
@click.option(
    "--kind", default="auto", show_default=True, type=click.Choice(["auto", "llama-factory", "hydra", "kubeflow"])
)
@_readable
def import_config_files(arguments: tuple[str, ...], name: str | None, out: Path | None, kind: str) -> None:
    """Turn configs of LLaMA-Factory, the Hydra workshop or the Kubeflow pipeline into a recipe; docs/import-config.md.

    Several files are the stages of one chain. `--key=value` after the file overrides its keys.
    """
    from llmops_assets.config_import.importing import import_files

    result = import_files(arguments, name=name, out=out, kind=kind, recipes=configs_dir() / "recipes")
    click.echo(result.report_text())
    for file in (*result.data_files, result.recipe):
        click.echo(f"wrote {file}")


@cli.command()
@click.argument("recipe", default="python_docs")
@click.option("--gpu", required=True, help="Memory of one GPU: 24GB, 80GiB, or auto for this machine's smallest.")
@click.option("--stage", type=click.Choice(["cpt", "sft", "kd", "kto", "dpo"]), default=None, help="Only this stage.")
@click.option("--gpus", default=1, show_default=True, type=click.IntRange(min=1), help="GPUs that could be ranks.")
@click.option(
    "--config",
    default=None,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A config.json to plan with instead of the base model's own.",
)
@_readable
def plan(recipe: str, gpu: str, stage: str | None, gpus: int, config: Path | None) -> None:
    """Print the GPU memory that each stage of a lane needs under each backend, and what to change if it is too much."""
    from llmops_assets.resources.memory_plan import plan_lines

    for line in plan_lines(_recipe(recipe), gpu=gpu, gpus=gpus, stage=stage, config=config):
        click.echo(line)


@cli.command()
@click.argument("recipe")
@click.argument("version", required=False)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="New folder; it appears whole or not at all."
)
@click.option("--merge", is_flag=True, help="Write a model with the adapter in its weights, checked on prompts.")
@click.option("--precision", type=click.Choice(["bf16", "fp32"]), default="bf16", show_default=True)
@click.option("--served-base", default=None, help="The base as the server names it, instead of the recipe's.")
@_readable
def export(
    recipe: str,
    version: str | None,
    out: Path,
    merge: bool,
    precision: Literal["bf16", "fp32"],
    served_base: str | None,
) -> None:
    """Export VERSION of a lane (v1.1; by default its champion) for vLLM, transformers or PEFT: docs/export.md."""
    import dagster as dg

    from llmops_assets.assets.exporting import export_version
    from llmops_assets.resources.defaults import artifact_store, feedback_resource

    with dg.DagsterInstance.get() as instance, feedback_resource().open() as store:
        export_version(
            instance,
            _recipe(recipe),
            version,
            artifacts=artifact_store(),
            store=store,
            out=out,
            merge=merge,
            precision=precision,
            served_base=served_base,
            on_line=click.echo,
        )
    click.echo(f"{out}: read its README.md")


@cli.command()
@click.argument("recipe", metavar="FILE | RECIPE")
@click.argument("asset", required=False)
@click.option("-n", "--rows", "count", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--first", default=0, show_default=True, type=click.IntRange(min=0), help="Row to begin with, from 0.")
@click.option("--as", "kind", default=None, type=click.Choice(KINDS), help="What a file is for.")
@click.option("--format", "layout", default="auto", show_default=True, help="Layout of a file's records; docs/data.md.")
@_readable
def preview(recipe: str, asset: str | None, count: int, first: int, kind: Any, layout: str) -> None:
    """Show records of FILE as a recipe would read them, and what is rejected.

    With RECIPE and ASSET (sft_rows, dpo_rows, ...) show prepared rows of a lane; tokens that carry loss are green.
    """
    if asset is None:
        _preview_file(Path(recipe), count, first, kind, layout)
        return
    if kind is not None or layout != "auto":
        raise click.ClickException("--as and --format are for files; an asset has one kind and layout")
    import dagster as dg

    from llmops_assets.assets.terminal_preview import preview_lines
    from llmops_assets.resources.defaults import artifact_store

    with dg.DagsterInstance.get() as instance:
        for line in preview_lines(instance, artifact_store(), _recipe(recipe), asset, count=count, first=first):
            click.echo(line)


def _preview_file(file: Path, count: int, first: int, kind: Any, layout: str) -> None:
    from llmops_assets.data.file_preview import preview_file

    if not file.is_file():
        raise click.ClickException(f"{file} is no file; name a file, or a recipe and an asset such as sft_rows")
    styles: dict[str, dict[str, Any]] = {
        "title": {"bold": True},
        "place": {"dim": True},
        "label": {"fg": "cyan"},
        "problem": {"fg": "red"},
        "text": {},
    }
    for line in preview_file(file, kind, layout, count=count, first=first):
        click.echo(click.style(line.text, **styles[line.kind]))


@cli.command()
@click.argument("recipe")
@click.argument("asset")
@_readable
def card(recipe: str, asset: str) -> None:
    """Print the data card of a lane's corpus, sft_set, preference_set or thumbs_set; docs/sets.md."""
    import dagster as dg

    from llmops_assets.assets.set_versions import card_of
    from llmops_assets.resources.defaults import artifact_store

    with dg.DagsterInstance.get() as instance:
        click.echo(card_of(instance, artifact_store(), _recipe(recipe), asset))


@cli.command()
@click.argument("recipe")
@click.argument("asset")
@click.argument("old", required=False)
@click.argument("new", required=False)
@_readable
def diff(recipe: str, asset: str, old: str | None, new: str | None) -> None:
    """Print what differs between two versions of a lane's data set, by default the last two; docs/sets.md.

    OLD and NEW are beginnings of data versions, as the asset page shows them, or of artifact fingerprints.
    """
    import dagster as dg

    from llmops_assets.assets.set_versions import diff_text
    from llmops_assets.resources.defaults import artifact_store

    with dg.DagsterInstance.get() as instance:
        click.echo(diff_text(instance, artifact_store(), _recipe(recipe), asset, old, new))


@cli.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--as", "kind", default=None, type=click.Choice(KINDS))
@click.option("--format", "layout", default="auto", show_default=True, help="Layout of the records; docs/data.md.")
@_readable
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


@cli.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--as", "kind", default=None, type=click.Choice(KINDS))
@click.option("--format", "layout", default="auto", show_default=True, help="Layout of the records; docs/data.md.")
@_readable
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


@cli.group()
def votes() -> None:
    """Import, export, count and (in the demo lane) simulate votes."""


@votes.command("import")
@click.argument("recipe")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_readable
def import_votes(recipe: str, file: Path) -> None:
    """Import votes of a lane from JSONL; lines that cannot be used go to a quarantine file with their reason."""
    from llmops_assets.resources.defaults import feedback_resource

    with feedback_resource().open() as store:
        result = store.import_votes(file, _recipe(recipe).name)
    click.echo(f"{result.accepted} votes imported, {result.duplicates} known already, {len(result.rejected)} refused")
    for line, reason in result.rejected:
        click.echo(f"{file}:{line}: {reason}", err=True)
    if result.rejected:
        raise click.ClickException(f"the refused lines are kept in {result.quarantine_path}; mend and import them")


@votes.command("export")
@click.argument("recipe")
@click.argument("file", type=click.Path(path_type=Path))
@_readable
def export_votes(recipe: str, file: Path) -> None:
    """Write all votes of a lane, with their battles and versions, as JSONL that `import` takes back."""
    from llmops_assets.resources.defaults import feedback_resource

    partial = file.with_name(file.name + ".partial")
    with feedback_resource().open() as store, partial.open("w", encoding="utf-8") as stream:
        count = 0
        for row in store.export_votes(_recipe(recipe).name):
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += row["record"] == "vote"
    partial.replace(file)
    click.echo(f"{count} votes written to {file}")


@votes.command("stats")
@click.argument("recipe")
@click.option("--json", "as_json", is_flag=True, help="All figures and findings as JSON.")
@_readable
def vote_stats(recipe: str, as_json: bool) -> None:
    """Print how far the votes of a lane can be trusted: counts, agreement, biases, and the limits with verdicts."""
    from llmops_assets.evaluation.preference_quality.presentation import terminal_lines
    from llmops_assets.evaluation.preference_quality.report import report_on_votes
    from llmops_assets.resources.defaults import feedback_resource

    lane = _recipe(recipe)
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
@_readable
def simulate(recipe: str, version: str | None) -> None:
    """Let two samples of a version battle and record the verdicts of the rater labelled `simulated`."""
    import dagster as dg

    from llmops_assets.assets.simulated_votes import simulate_votes
    from llmops_assets.resources.defaults import artifact_store, feedback_resource
    from llmops_assets.resources.trainer import Trainer

    with dg.DagsterInstance.get() as instance, feedback_resource().open() as store:
        count = simulate_votes(
            instance, _recipe(recipe), version=version, artifacts=artifact_store(), trainer=Trainer(), store=store
        )
    click.echo(f"{count} simulated votes are in the store")


@cli.command("pretrain-base")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the new base model.")
@_readable
def pretrain_base_model(out: Path) -> None:
    """Make the embedded base model again, from the documentation of pinned packages (hours of CPU)."""
    from llmops_assets.training.pretrain_base import pretrain_base

    pretrain_base(out)


def _recipe(name: str):
    from llmops_assets.recipe import load_recipe

    return load_recipe(configs_dir() / "recipes" / f"{name}.yaml")
