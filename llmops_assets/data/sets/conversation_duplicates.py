"""Conversations that say nearly the same: dropped within a set, never on both sides of its split."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from llmops_assets.data.quarantine import Quarantine
from llmops_assets.data.records import Conversation, Reason
from llmops_assets.data.sets.conversations import rejected

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmops_assets.data.duplicates.shingles import Hashes


def spoken(conversation: Conversation) -> str:
    """Return all turns but the system's, which whole sets have in common."""
    return "\n".join(message.content for message in conversation.messages if message.role != "system")


def first_question(conversation: Conversation) -> str:
    return next(message.content for message in conversation.messages if message.role == "user")


def without_near_duplicates(
    conversations: Sequence[Conversation], threshold: float, quarantine: Quarantine
) -> list[Conversation]:
    """Return the conversations without those that are like an earlier one in all that is said."""
    # numpy is for those who build, not for the code location, which imports this module.
    from llmops_assets.data.duplicates.dedup import find_duplicates

    dropped: set[int] = set()
    for duplicate in find_duplicates([spoken(conversation) for conversation in conversations], threshold):
        detail = f"Jaccard similarity {duplicate.similarity:.2f} with {conversations[duplicate.kept].id}"
        quarantine.add(rejected(conversations[duplicate.index], Reason.NEAR_DUPLICATE, detail))
        dropped.add(duplicate.index)
    return [conversation for index, conversation in enumerate(conversations) if index not in dropped]


def joined_groups(conversations: Sequence[Conversation], threshold: float | None) -> dict[str, str]:
    """Return for each group the name of the one that it is split with: groups that ask nearly the same are one.

    Without a threshold every group is on its own.
    """
    parent = {conversation.group: conversation.group for conversation in conversations}
    if threshold is None:
        return parent
    from llmops_assets.data.duplicates.dedup import find_duplicates

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = group = parent[parent[group]]
        return group

    for duplicate in find_duplicates([first_question(conversation) for conversation in conversations], threshold):
        one, other = (root(conversations[index].group) for index in (duplicate.index, duplicate.kept))
        parent[max(one, other)] = min(one, other)
    return {group: root(group) for group in parent}


def twins(texts: Sequence[str], others: Iterable[str], threshold: float) -> dict[int, int]:
    """Return for each text that has a near-duplicate among `others` its number and that of the first such one.

    No pair is missed: the Jaccard similarity of 5-word shingles is computed wherever it can reach the threshold. Held
    are 16 bytes for each shingle of `texts`; `others` are read one after the other.
    """
    import numpy as np

    from llmops_assets.data.duplicates.dedup import SHINGLE_WORDS
    from llmops_assets.data.duplicates.shingles import share_in, shingle_hashes

    sets = [batch.of(index) for batch in shingle_hashes(texts, SHINGLE_WORDS) for index in range(len(batch))]
    found: dict[int, int] = {}
    if not sets:
        return found
    sizes = np.array([len(each) for each in sets])
    hashes = np.concatenate(sets)
    order = np.argsort(hashes, kind="stable")
    hashes, owners = hashes[order], np.repeat(np.arange(len(sets)), sizes)[order]

    def common_with(shingles: "Hashes") -> "NDArray[np.int64]":
        """Return how many of `shingles` each text has."""
        starts, ends = (np.searchsorted(hashes, shingles, side) for side in ("left", "right"))
        counts = ends - starts
        places = np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
        return np.bincount(owners[places], minlength=len(sets))

    number = 0
    for batch in shingle_hashes(others, SHINGLE_WORDS):
        for index in range(len(batch)):
            shingles = batch.of(index)
            # What two texts have in common is at most what one of them has in common with all.
            if share_in(hashes, shingles) >= threshold:
                common = common_with(shingles)
                for text in np.flatnonzero(common / (len(shingles) + sizes - common) >= threshold).tolist():
                    found.setdefault(text, number)
            number += 1
    return found
