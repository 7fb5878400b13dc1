"""Commands that show data sets: their rows, cards and differences."""

from pathlib import Path
from typing import Any

import click

from llmops_assets.cli.files import KINDS
from llmops_assets.cli.readable import readable, recipe_named


@click.command()
@click.argument("recipe", metavar="FILE | RECIPE")
@click.argument("asset", required=False)
@click.option("-n", "--rows", "count", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--first", default=0, show_default=True, type=click.IntRange(min=0), help="Row to begin with, from 0.")
@click.option("--as", "kind", default=None, type=click.Choice(KINDS), help="What a file is for.")
@click.option("--format", "layout", default="auto", show_default=True, help="Layout of a file's records; docs/data.md.")
@readable
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
        for line in preview_lines(instance, artifact_store(), recipe_named(recipe), asset, count=count, first=first):
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


@click.command()
@click.argument("recipe")
@click.argument("asset")
@readable
def card(recipe: str, asset: str) -> None:
    """Print the data card of a lane's corpus, sft_set, preference_set or thumbs_set; docs/sets.md."""
    import dagster as dg

    from llmops_assets.assets.set_versions import card_of
    from llmops_assets.resources.defaults import artifact_store

    with dg.DagsterInstance.get() as instance:
        click.echo(card_of(instance, artifact_store(), recipe_named(recipe), asset))


@click.command()
@click.argument("recipe")
@click.argument("asset")
@click.argument("old", required=False)
@click.argument("new", required=False)
@readable
def diff(recipe: str, asset: str, old: str | None, new: str | None) -> None:
    """Print what differs between two versions of a lane's data set, by default the last two; docs/sets.md.

    OLD and NEW are beginnings of data versions, as the asset page shows them, or of artifact fingerprints.
    """
    import dagster as dg

    from llmops_assets.assets.set_versions import diff_text
    from llmops_assets.resources.defaults import artifact_store

    with dg.DagsterInstance.get() as instance:
        click.echo(diff_text(instance, artifact_store(), recipe_named(recipe), asset, old, new))
