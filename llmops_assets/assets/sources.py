"""The sources of a recipe as observable external assets, and what the sets that read them say about them."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from llmops_assets.assets.lineage import readable_errors
from llmops_assets.data.sources.reading import ReadableSource
from llmops_assets.data.sources.remote_files import is_url, without_secrets
from llmops_assets.data.sources.sources_at_hand import SourcesAtHand, is_read
from llmops_assets.data.sources.specs import FilesSource, HubSource, RegistrySource, SourceSpec
from llmops_assets.recipe import Recipe
from llmops_assets.settings import configs_dir

# Key of a set's manifest summary that holds the facts of its sources.
SOURCE_FACTS = "source_facts"
_COLUMNS = {
    **{"source": "string", "kind": "string", "license": "string", "revision": "string", "content_hash": "string"},
    **{"records": "int", "files": "int", "bytes": "int"},
}


def source_keys(recipe: Recipe, *sets: str) -> list[dg.AssetKey]:
    """Return the keys `<recipe>/<set>_sources/<source>` of what the named set assets read."""
    return [_key(recipe, name, source) for name, source in _sources(recipe) if name in sets]


def source_assets(recipe: Recipe) -> list[dg.SourceAsset]:
    """Return an observable external asset for each source of the recipe's sets.

    Those that are made in the lane, of its corpus or by a model, have none: assets of the lane are their sources.
    """
    with warnings.catch_warnings():
        # Dagster says of each that its function is in beta, in every process that loads the graph.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return [_source_asset(recipe, name, source) for name, source in _sources(recipe)]


def facts_summary(at_hand: SourcesAtHand) -> dict[str, Any]:
    """Return the facts of sources as the entry of a manifest's summary."""
    return {SOURCE_FACTS: [facts.model_dump(mode="json") for facts in at_hand.facts]}


def facts_metadata(at_hand: SourcesAtHand, records: Mapping[str, int]) -> dict[str, dg.MetadataValue]:
    """Return the facts of sources as a table, with how many `records` of each were kept."""
    rows = []
    for facts in at_hand.facts:
        known = {**facts.model_dump(mode="json"), "records": records.get(facts.source)}
        rows.append(dg.TableRecord({name: _cell(known[name], kind) for name, kind in _COLUMNS.items()}))
    columns = [dg.TableColumn(name, kind) for name, kind in _COLUMNS.items()]
    return {SOURCE_FACTS: dg.MetadataValue.table(rows, schema=dg.TableSchema(columns))} if rows else {}


def _cell(value: Any, kind: str) -> str | int:
    if value is None:
        return 0 if kind == "int" else ""
    return value


def _sources(recipe: Recipe) -> Iterator[tuple[str, ReadableSource]]:
    """Yield (set asset, source) of all that the recipe's sets read from outside the lane."""
    pairs = recipe.preferences.data_sets if recipe.dpo is not None and recipe.preferences is not None else None
    sections = {
        "corpus": recipe.corpus,
        "sft_set": recipe.sft_set,
        "thumbs_set": recipe.thumbs_set,
        "preference_set": pairs,
        "eval_sets": recipe.eval_sets,
    }
    sources: dict[str, Sequence[SourceSpec]] = {
        name: section.sources for name, section in sections.items() if section is not None
    }
    if recipe.instructions is not None:
        sources["instructions"] = [recipe.instructions.seeds]
    for name, read in sources.items():
        yield from ((name, source) for source in read if is_read(source))


def _key(recipe: Recipe, name: str, source: ReadableSource) -> dg.AssetKey:
    return dg.AssetKey([recipe.name, f"{name}_sources", source.name])


def _source_asset(recipe: Recipe, name: str, source: ReadableSource) -> dg.SourceAsset:
    kind, what = _described(source)

    @dg.observable_source_asset(
        key=_key(recipe, name, source),
        group_name=recipe.name,
        description=f"{what}, read by {name}. Observing it records the hash of its content as data version, and its "
        "licence, revision and size; the set that reads it looks for itself again.",
        tags={f"dagster/kind/{kind}": ""},
    )
    def observed() -> dg.ObserveResult:
        with readable_errors():
            found = SourcesAtHand.look_up([source], configs_dir() / "recipes").facts[0]
        known = found.model_dump(exclude={"source", "content_hash"}, exclude_none=True)
        metadata = {f"source/{key}": value for key, value in known.items()}
        return dg.ObserveResult(data_version=dg.DataVersion(found.content_hash), metadata=metadata)

    return observed


def _described(source: ReadableSource) -> tuple[str, str]:
    """Return the kind that the UI shows a picture of, and what the source is, as the beginning of a sentence."""
    match source:
        case HubSource():
            return "huggingface", f"The data set {source.dataset} of the Hugging Face hub"
        case RegistrySource():
            return "json", f"The data set {source.dataset} of the registry {without_secrets(source.file)}"
        case FilesSource():
            scheme = source.pattern.partition("://")[0] if is_url(source.pattern) else "file"
            return scheme.partition("::")[0], f"The files {without_secrets(source.pattern)}"
    return "python", f"{type(source).__doc__ or source.kind}".rstrip(".")
