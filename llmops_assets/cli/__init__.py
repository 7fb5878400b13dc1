"""`llmops`: what the Dagster command line does not do: the demo, votes, recipes and the embedded base model."""

import os
import signal
import sys
from pathlib import Path
from typing import Literal

import click

from llmops_assets.cli import files, sets, votes
from llmops_assets.cli.readable import readable, recipe_named
from llmops_assets.settings import configs_dir, state_dir


def main() -> None:
    """Entry point: point Dagster at this project unless the caller already points it somewhere, then dispatch."""
    os.environ.setdefault("DAGSTER_HOME", str(Path(__file__).resolve().parents[2]))
    os.environ.setdefault("LLMOPS_STATE_DIR", str(state_dir()))
    # A service manager sends SIGTERM, a closed terminal SIGHUP, and `&` in a script leaves SIGINT ignored: all of them
    # must clean up as Ctrl-C does.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    cli()


@click.group()
def cli() -> None:
    """LLM post-training as a Dagster asset graph."""


@cli.command()
@click.argument("recipe", default="python_docs")
@readable
def demo(recipe: str) -> None:
    """Run a lane end to end: build v1.0, simulate votes, let the sensor start DPO, print the table."""
    from llmops_assets.demo import run_demo

    sys.exit(run_demo(recipe_named(recipe)))


@cli.command()
@click.option("--instance", default=None, help="A name under configs/instances/; without it, what DAGSTER_HOME says.")
@click.option("--dagster-port", default=3000, show_default=True)
@click.option("--mlflow-port", default=5000, show_default=True)
@readable
def dev(instance: str | None, dagster_port: int, mlflow_port: int) -> None:
    """Serve the Dagster UI (with its daemon) and the MLflow UI until Ctrl-C."""
    from llmops_assets.dev_servers import run_dev_servers
    from llmops_assets.instances import use_instance

    use_instance(instance)
    run_dev_servers(dagster_port, mlflow_port)


@cli.command()
@click.argument("recipe", default="python_docs")
@readable
def report(recipe: str) -> None:
    """Print the table base -> CPT -> SFT -> DPO of a lane, from its newest reports."""
    import dagster as dg

    from llmops_assets.assets.chain_report import lane_table
    from llmops_assets.resources.defaults import artifact_store

    with dg.DagsterInstance.get() as instance:
        click.echo(lane_table(instance, artifact_store(), recipe_named(recipe)))


@cli.command("check-recipe")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@readable
def check_recipe(files: tuple[Path, ...]) -> None:
    """Validate recipe files; every problem is named with file, line and key."""
    from llmops_assets.recipe import RecipeError, load_recipe

    problems: list[str] = []
    for file in files:
        try:
            click.echo(f"{file}: recipe {load_recipe(file).name} is valid")
        except RecipeError as error:
            problems.append(str(error))
    if problems:
        raise click.ClickException("\n".join(problems))


@cli.command()
@click.argument("recipe")
@click.argument("name", required=False)
@click.option("--point", "chosen", multiple=True, help="Only this point; may be given several times.")
@click.option("--show", is_flag=True, help="Print the table of what has been trained so far, and launch nothing.")
@click.option("--instance", default=None, help="A name under configs/instances/; without it, what DAGSTER_HOME says.")
@readable
def sweep(recipe: str, name: str | None, chosen: tuple[str, ...], show: bool, instance: str | None) -> None:
    """Queue one run for each point of a sweep, in the gpu pool; docs/sweeps.md."""
    from llmops_assets.automation.sweep_launch import sweep_lines
    from llmops_assets.instances import use_instance

    use_instance(instance)
    for line in sweep_lines(recipe_named(recipe), name, chosen, show=show):
        click.echo(line)


@cli.command("import-config", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", metavar="FILE... [--key=value]...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--name", default=None, help="Name of the lane; without it, that of the first file.")
@click.option("--out", default=None, type=click.Path(path_type=Path), help="Recipe file; else under configs/recipes/.")
@click.option(
    "--kind", default="auto", show_default=True, type=click.Choice(["auto", "llama-factory", "hydra", "kubeflow"])
)
@readable
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
@readable
def plan(recipe: str, gpu: str, stage: str | None, gpus: int, config: Path | None) -> None:
    """Print the GPU memory that each stage of a lane needs under each backend, and what to change if it is too much."""
    from llmops_assets.resources.memory_plan import plan_lines

    for line in plan_lines(recipe_named(recipe), gpu=gpu, gpus=gpus, stage=stage, config=config):
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
@readable
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
            recipe_named(recipe),
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


@cli.command("pretrain-base")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the new base model.")
@readable
def pretrain_base_model(out: Path) -> None:
    """Make the embedded base model again, from the documentation of pinned packages (hours of CPU)."""
    from llmops_assets.training.pretrain_base import pretrain_base

    pretrain_base(out)


for more in (sets.preview, sets.card, sets.diff, files.validate, files.convert, votes.votes):
    cli.add_command(more)
