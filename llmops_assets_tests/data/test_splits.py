from collections import Counter

from llmops_assets.data.splits import draw, pick, split_groups


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
