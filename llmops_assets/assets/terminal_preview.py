"""`llmops preview`: prepared rows in a terminal, the tokens that carry loss in colour."""

from collections.abc import Iterator
from itertools import islice

import click
import dagster as dg

from llmops_assets.assets.lineage import latest_artifact
from llmops_assets.assets.prepared_rows import rows_name
from llmops_assets.errors import LlmopsError
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import ArtifactStore


class NoSuchRows(LlmopsError):
    """The lane has no rows asset of this name."""


def preview_lines(
    instance: dg.DagsterInstance, store: ArtifactStore, recipe: Recipe, asset: str, *, count: int, first: int
) -> Iterator[str]:
    """Yield `count` rows of `<recipe>/<asset>` from row `first` (from 0) on, styled for a terminal.

    Green tokens carry loss, the others are context. Answers of a pair, and documents of a packed row, are apart.

    Raises NoSuchRows and NotMaterialized.
    """
    known = [rows_name(stage) for stage in recipe.stages]
    if asset not in known:
        raise NoSuchRows(f"{recipe.name} has no rows asset {asset}; choose from {', '.join(known)}")
    artifact = latest_artifact(instance, store, recipe.name, asset)
    # Deferred: they take seconds to import, and Dagster loads this package often.
    from llmops_assets.training.model import load_tokenizer
    from llmops_assets.training.preparation.arrow_rows import read_rows
    from llmops_assets.training.preparation.preview import row_spans

    tokenizer = load_tokenizer(recipe.base_model.resolve())
    rows = read_rows(artifact.folder)
    counts = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in artifact.manifest.summary.items())
    yield click.style(f"{recipe.name}/{asset}: {counts}", bold=True)
    for number in islice(range(first, len(rows)), count):
        for title, spans in row_spans(tokenizer, rows[number]):
            yield click.style(f"row {number}{', ' + title if title else ''}", dim=True)
            yield "".join(click.style(s.text, fg="green", bold=True) if s.trained else s.text for s in spans)
