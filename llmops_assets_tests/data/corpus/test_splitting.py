import tracemalloc

import numpy as np

from llmops_assets.data.corpus.splitting import heldout, units
from llmops_assets.data.duplicates.contained_runs import Runs


def test_documents_of_a_group_and_those_that_are_alike_are_one_unit() -> None:
    groups = np.array([5, 9, 5, 7, 8, 9], np.uint64)
    assert units(groups, []).tolist() == [0, 1, 0, 3, 4, 1]
    assert units(groups, [(2, 3)]).tolist() == [0, 1, 0, 0, 4, 1]
    assert units(groups, [(2, 3), (3, 5)]).tolist() == [0, 0, 0, 0, 4, 0]


def test_a_unit_is_held_out_as_a_whole_by_one_draw() -> None:
    groups = np.arange(100, dtype=np.uint64)
    unit_of = np.arange(100) // 2 * 2
    draws = np.linspace(0, 1, 100, endpoint=False)
    held = heldout(unit_of, groups, draws, 0.2)
    assert held.reshape(50, 2).all(axis=1).sum() == held.sum() / 2 == 10
    assert held[:20].all()


def test_no_documents_have_no_split() -> None:
    none = np.zeros(0)
    assert not len(heldout(none.astype(np.int64), none.astype(np.uint64), none, 0.2))


def test_runs_of_texts_take_few_bytes_a_word_while_they_are_gathered() -> None:
    def peak(texts: int) -> int:
        words = (" ".join(f"w{number}" for number in range(text * 5000, text * 5000 + 5000)) for text in range(texts))
        tracemalloc.start()
        Runs.of(words)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(200) - peak(100) < 26 * 100 * 5000
