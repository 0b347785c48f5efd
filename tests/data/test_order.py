import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.data.grouping import held_out
from orchestrator.data.order import epoch_order, epoch_part, eval_batches, rank_batches, sample_seed

sizes = st.integers(0, 60)
batches = st.integers(1, 17)
worlds = st.integers(1, 9)
seeds = st.integers(0, 2**31)


@given(n=sizes, batch=batches, world=worlds, seed=seeds, epoch=st.integers(0, 50))
def test_ranks_together_are_the_global_order(n: int, batch: int, world: int, seed: int, epoch: int) -> None:
    order = epoch_order(n, seed, epoch)
    assert sorted(order.tolist()) == list(range(n))
    ranks = [rank_batches(order, batch, rank, world) for rank in range(world)]
    seen: list[int] = []
    for parts in zip(*ranks, strict=True):
        assert len({len(indices) for indices, _ in parts}) == 1
        whole = [i for indices, weights in parts for i, w in zip(indices, weights, strict=True) if w]
        for indices, weights in parts:
            assert set(indices.tolist()) <= set(whole)
            assert set(weights.tolist()) <= {0.0, 1.0}
        assert len(parts[0][0]) == -(-len(whole) // world)
        seen += whole
    assert seen == order.tolist()


@given(n=sizes, batch=batches, world=worlds)
def test_eval_batches_are_whole_and_the_same_for_any_world(n: int, batch: int, world: int) -> None:
    ranks = [eval_batches(n, batch, rank, world) for rank in range(world)]
    dealt = [part for turn in zip(*ranks, strict=True) for part in turn]
    counted = [indices.tolist() for indices, weights in dealt if weights.all()]
    assert counted == [indices.tolist() for indices, _ in eval_batches(n, batch, 0, 1)]
    assert [i for indices in counted for i in indices] == list(range(n))
    assert all(weights.all() or not weights.any() for _, weights in dealt)


def test_epochs_and_seeds_differ_and_repeat() -> None:
    first = epoch_order(50, 1, 0)
    assert first.dtype == np.int64
    assert (first == epoch_order(50, 1, 0)).all()
    assert (first != epoch_order(50, 1, 1)).any()
    assert (first != epoch_order(50, 2, 0)).any()
    # The order is part of what makes a run repeatable: it must not change between versions.
    assert epoch_order(6, 3, 2).tolist() == [4, 0, 1, 2, 3, 5]


def test_a_rank_without_samples_gets_filler() -> None:
    indices, weights = rank_batches(np.array([7, 8, 9]), 5, 3, 4)[0]
    assert indices.tolist() == [7]
    assert weights.tolist() == [0.0]


def test_sample_seeds() -> None:
    seeds = {sample_seed(s, e, i) for s in range(3) for e in range(3) for i in range(50)}
    assert len(seeds) == 450
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert sample_seed(1, 2, 3) == sample_seed(1, 2, 3)


@pytest.mark.parametrize(("batch", "rank", "world"), [(0, 0, 1), (1, 1, 1), (1, -1, 2)])
def test_impossible_ranks_are_refused(batch: int, rank: int, world: int) -> None:
    with pytest.raises(ValueError, match="no rank"):
        rank_batches(np.arange(3), batch, rank, world)
    with pytest.raises(ValueError, match="no rank"):
        eval_batches(3, batch, rank, world)


@settings(max_examples=60)
@given(groups=st.lists(st.sampled_from(["", "a", "b", "c", "d"]), max_size=40), seed=seeds, data=st.data())
def test_held_out_never_cuts_a_group(groups: list[str], seed: int, data: st.DataObject) -> None:
    ids = [f"i{n}" for n in range(len(groups))]
    count = data.draw(st.integers(0, len(ids)))
    taken = held_out(ids, groups, count, seed)
    units = {group or item for item, group in zip(ids, groups, strict=True)}
    assert (0 < len(taken) < len(ids)) == (len(units) > 1)
    for group in set(groups) - {""}:
        members = {i for i, g in enumerate(groups) if g == group}
        assert members <= taken or not members & taken
    shuffled = data.draw(st.permutations(range(len(ids))))
    again = held_out([ids[i] for i in shuffled], [groups[i] for i in shuffled], count, seed)
    assert {shuffled[i] for i in again} == taken


def test_held_out_takes_exactly_so_many_without_groups() -> None:
    ids = [f"i{n:03}" for n in range(100)]
    assert len(held_out(ids, [""] * 100, 20, 42)) == 20
    assert held_out(ids, [""] * 100, 20, 42) != held_out(ids, [""] * 100, 20, 43)


@given(n=st.integers(1, 30), samples=st.integers(0, 70), seed=seeds)
def test_epochs_of_any_length_are_one_row_of_whole_permutations(n: int, samples: int, seed: int) -> None:
    epochs = [epoch_part(n, seed, epoch, samples) for epoch in range(1, 6)]
    assert all(len(part) == (samples or n) for part in epochs)
    row = np.concatenate(epochs)
    for start in range(0, len(row) - n + 1, n):
        assert sorted(row[start : start + n].tolist()) == list(range(n))
    assert (epoch_part(n, seed, 3, 0) == epoch_order(n, seed, 3)).all()
