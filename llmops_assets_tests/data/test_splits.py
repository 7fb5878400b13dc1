from collections import Counter

from llmops_assets.data.splits import Classed, Sample, draw, pick, split_groups, split_per_class


def test_draw_is_the_same_everywhere() -> None:
    assert draw(7, "api/shutil") == 0.06308204905126757
    assert draw(7, "api/shutil") != draw(8, "api/shutil")


def test_about_the_share_of_the_records_is_held_out() -> None:
    groups = [f"group{number % 997}" for number in range(10_000)]
    splits = split_groups(groups, 0.1, seed=7)
    heldout = sum(splits[group] == "heldout" for group in groups)
    assert 800 < heldout < 1200


def test_side_of_a_group_does_not_depend_on_other_groups_of_like_size() -> None:
    few = split_groups([f"g{n}" for n in range(500)], 0.2, seed=1)
    more = split_groups([f"g{n}" for n in range(1000)], 0.2, seed=1)
    assert {group: more[group] for group in few} == few


def test_group_that_would_be_most_of_the_heldout_side_stays_in_train() -> None:
    for seed in range(40):
        groups = ["huge"] * 300 + [f"g{number}" for number in range(700)]
        splits = split_groups(groups, 0.1, seed)
        assert splits["huge"] == "train"
        assert 50 < sum(splits[group] == "heldout" for group in groups) < 160


def test_small_set_still_holds_something_out_and_one_group_alone_does_not() -> None:
    assert Counter(split_groups(["a", "b", "c"], 0.01, seed=7).values()) == {"train": 2, "heldout": 1}
    assert split_groups(["a", "a"], 0.4, seed=7) == {"a": "train"}
    assert split_groups([], 0.1, seed=7) == {}


def test_pick_keeps_order_and_survivors_when_the_set_grows() -> None:
    small = [f"row{number}" for number in range(100)]
    picked = pick(small, 10, 7, key=str)
    assert picked == sorted(picked, key=small.index) and len(picked) == 10
    grown = set(pick([*small, *(f"new{number}" for number in range(20))], 10, 7, key=str))
    assert len(grown & set(picked)) >= 5
    assert pick(small, None, 7, key=str) == small


def test_a_sample_of_a_stream_is_what_pick_chooses() -> None:
    rows = [f"row{number}" for number in range(500)]
    sample: Sample[str] = Sample(20, seed=3)
    for row in rows:
        sample.offer(row, row)
    assert sample.items() == pick(rows, 20, 3, key=str)
    assert sample.left_out == 480


def test_copies_take_no_place_in_a_sample_whenever_they_come() -> None:
    rows = [f"row{number}" for number in range(100)]
    for stream in (rows * 3, [row for row in rows for _ in range(3)]):
        sample: Sample[str] = Sample(20, seed=3)
        copies = sum(sample.offer(row, row) is not None for row in stream)
        assert sample.items() == pick(rows, 20, 3, key=str)
        assert copies + sample.left_out + 20 == 300


def _classed(sizes: dict[str, int]) -> list[Classed]:
    return [Classed(name, f"{name}/{n}", f"{name}/{n}") for name, size in sizes.items() for n in range(size)]


def test_per_class_the_records_with_the_smallest_draws_are_held_out() -> None:
    records = _classed({"sport": 200, "music": 40, "rare": 3})
    splits, chosen = split_per_class(records, 10, seed=7)
    for name, count in (("sport", 10), ("music", 10), ("rare", 3)):
        ranked = sorted((draw(7, record.key), number) for number, record in enumerate(records) if record[0] == name)
        assert {number for _, number in ranked[:count]} == {n for n in chosen if records[n].class_name == name}
    assert {group for group, split in splits.items() if split == "heldout"} == {records[n].group for n in chosen}


def test_held_out_records_of_a_class_do_not_depend_on_order_and_stay_when_others_come() -> None:
    records = _classed({"sport": 200, "music": 40})
    keys = {records[number].key for number in split_per_class(records, 10, seed=7)[1]}
    backwards = records[::-1]
    assert {backwards[number].key for number in split_per_class(backwards, 10, seed=7)[1]} == keys
    more = [*records, *_classed({"news": 50}), *(Classed("music", f"new{n}", f"new{n}") for n in range(4))]
    again = {more[number].key for number in split_per_class(more, 10, seed=7)[1]}
    assert len(keys - again) <= 4 and {key for key in keys if key.startswith("sport")} <= again


def test_a_drawn_record_takes_its_group_off_train_and_a_huge_group_stays_there() -> None:
    pairs = [Classed("c", f"g{number // 2}", f"k{number}") for number in range(100)]
    splits, chosen = split_per_class(pairs, 5, seed=1)
    assert len(chosen) == 5 and {splits[pairs[number].group] for number in chosen} == {"heldout"}
    huge = [*pairs, *(Classed("c", "huge", f"h{number}") for number in range(300))]
    splits, chosen = split_per_class(huge, 5, seed=1)
    assert splits["huge"] == "train" and len(chosen) == 5
