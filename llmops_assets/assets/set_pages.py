"""What data sets show beside their counts: sources, lengths and turns, the card, and what changed since before."""

import dagster as dg

from llmops_assets.assets.previews import fenced, histogram_table
from llmops_assets.assets.set_versions import changes_since_last
from llmops_assets.data.records import row_hash
from llmops_assets.data.sets.card_facts import short_classes
from llmops_assets.data.sets.cards import CARD_FILE, CardSpec
from llmops_assets.data.sets.data_set import DataSetSummary
from llmops_assets.data.sets.mixing import source_mix
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import Artifact, ArtifactStore


def card_input(recipe: Recipe) -> dict[str, str]:
    """Return the input of a set that the recipe's `card` is: another card is another artifact of the same data."""
    # No source can have this name.
    return {} if recipe.card == CardSpec() else {"recipe/card": row_hash(recipe.card.model_dump(mode="json"))}


def set_page(instance: dg.DagsterInstance, store: ArtifactStore, artifact: Artifact) -> dict[str, dg.MetadataValue]:
    """Return the card, without the front matter that only the hub reads, and what changed."""
    card = (artifact.folder / CARD_FILE).read_text(encoding="utf-8")
    return {
        "card": dg.MetadataValue.md(card.split("\n---\n", maxsplit=1)[1].strip()),
        "changes": dg.MetadataValue.md(fenced(changes_since_last(instance, store, artifact))),
    }


def sources_table(summary: DataSetSummary) -> dg.TableMetadataValue:
    """Return what each source gave, its share of train's tokens, and the share that was asked of it."""
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {
                    "source": share.source,
                    "licence": share.license,
                    "read": share.read,
                    "kept": share.kept,
                    "not drawn": share.not_drawn,
                    "tokens": share.tokens,
                    "share": f"{share.token_share:.1%}",
                    "asked": "-" if share.asked is None else f"{share.asked:.1%}",
                }
            )
            for share in source_mix(summary)
        ]
    )


def length_tables(summary: DataSetSummary) -> dict[str, dg.MetadataValue]:
    """Return lengths, turns and classes of a set of conversations; of a corpus, the lengths of its chunks."""
    found = summary.statistics
    if found is None:
        return {"tokens_of": dg.MetadataValue.table([dg.TableRecord({"of": "a chunk", **summary.tokens_per_row})])}
    lengths = {"a conversation": found.conversation_tokens, "an answer": found.answer_tokens}
    shown: dict[str, dg.MetadataValue] = {
        "tokens_of": dg.MetadataValue.table([dg.TableRecord({"of": of, **each}) for of, each in lengths.items()]),
        "answers_per_conversation": histogram_table(found.answers),
        "roles": dg.MetadataValue.json(dict(found.roles)),
        "share_with_system_turn": dg.MetadataValue.float(found.system_share),
        "share_with_tools": dg.MetadataValue.float(found.tools_share),
    }
    if summary.shares_limited_by is not None:
        shown["mix_limited_by"] = dg.MetadataValue.text(summary.shares_limited_by)
    if summary.classes:
        records = [dg.TableRecord({"class": name, **counts}) for name, counts in summary.classes.items()]
        shown["classes"] = dg.MetadataValue.table(records)
    if short := short_classes(summary):
        shown["classes_with_too_few"] = dg.MetadataValue.json(short)
    return shown
