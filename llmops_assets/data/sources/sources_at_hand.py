"""The sources of a set as they are at one moment: each at its commit, with what is known about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeGuard, TypeVar

from llmops_assets.data.sources.named_sets import resolved
from llmops_assets.data.sources.reading import ReadableSource, facts_of, pinned
from llmops_assets.data.sources.source_facts import SourceFacts
from llmops_assets.data.sources.specs import ExtractedSource, GeneratedSource, HubSource, SourceSpec

AnySource = TypeVar("AnySource", bound=SourceSpec)


@dataclass(frozen=True)
class SourcesAtHand(Generic[AnySource]):
    """The sources of a set, each held at the commit that it is at now, and what is known about them.

    `named` has them as the recipe names them, `sources` as they are held; `moving` are the names of those that the
    recipe names by something that moves. There are no `facts` about a source that is made in the lane, of its corpus
    or by a model: its asset has those.
    """

    named: Sequence[AnySource]
    sources: list[AnySource]
    facts: list[SourceFacts]
    moving: list[str]

    @classmethod
    def look_up(cls, sources: Sequence[AnySource], base_dir: Path) -> "SourcesAtHand[AnySource]":
        """Ask hubs and servers once, and hash what is to be read. Raises MissingSourceError."""
        held = [pinned(source, base_dir) if is_read(source) else source for source in sources]
        moving = [asked.name for asked, found in zip(sources, held, strict=True) if found != _by_its_hub_id(asked)]
        return cls(sources, held, [facts_of(source, base_dir) for source in held if is_read(source)], sorted(moving))

    @property
    def inputs(self) -> dict[str, str]:
        """The content hash of each source as an input of the set, by `source/<name>`.

        A source may be called what another input is called, such as `tokenizer`.
        """
        return {f"source/{facts.source}": facts.content_hash for facts in self.facts}

    @property
    def by_name(self) -> Mapping[str, SourceFacts]:
        """The facts by the name of their source."""
        return {facts.source: facts for facts in self.facts}


def is_read(source: SourceSpec) -> TypeGuard[ReadableSource]:
    """Return whether `source` is read from outside the lane."""
    return not isinstance(source, ExtractedSource | GeneratedSource)


def _by_its_hub_id(source: SourceSpec) -> SourceSpec:
    return resolved(source) if isinstance(source, HubSource) else source
