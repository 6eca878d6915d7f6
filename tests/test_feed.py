"""Training batches: reproducible from any step, whoever simulates them, each galaxy used as often as promised."""

from collections import Counter

import pytest
import torch

from sfhflow.feed import Feed

SIZE = 8


def numbered(number):
    """A batch in which every galaxy carries its own number, twice."""
    rows = torch.arange(SIZE, dtype=torch.float32)[:, None] + SIZE * number
    return rows.expand(-1, 3).contiguous(), -rows


def drawn(feed, first, last, seed=0):
    return [features[:, 0].tolist() for features, _ in feed.batches(first, last, seed=seed)]


def test_without_reuse_every_step_gets_the_next_batch():
    batches = list(Feed(numbered).batches(2, 6, seed=0))
    for number, (features, u) in zip(range(2, 6), batches, strict=True):
        assert sorted(features[:, 0].tolist()) == numbered(number)[0][:, 0].tolist()
        assert torch.equal(features[:, :1], -u)


def test_features_and_coordinates_stay_together_when_batches_are_mixed():
    for features, u in Feed(numbered, reuse=3, memory=4).batches(0, 20, seed=1):
        assert torch.equal(features[:, :1], -u)


def test_a_step_draws_from_the_last_batches_only_and_none_twice():
    reuse, memory = 3, 4
    for step, rows in enumerate(drawn(Feed(numbered, reuse=reuse, memory=memory), 0, 40)):
        oldest = step // reuse
        assert all(oldest * SIZE <= row < (oldest + memory) * SIZE for row in rows)
        assert len(set(rows)) == SIZE


def test_each_galaxy_is_used_reuse_times_on_average():
    reuse, memory = 5, 4
    used = Counter(row for rows in drawn(Feed(numbered, reuse=reuse, memory=memory), 0, 2000) for row in rows)
    # batches that came and went; each of the others was seen in part only
    inner = [used[row] for row in range(memory * SIZE, (2000 // reuse - 1) * SIZE)]
    # uses of a galaxy are nearly Poisson, so their mean is known to this
    assert sum(inner) / len(inner) == pytest.approx(reuse, abs=4 * (reuse / len(inner)) ** 0.5)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_step_gets_depends_on_seed_and_step_alone(workers):
    whole = drawn(Feed(numbered, reuse=2, memory=3), 0, 12, seed=4)
    resumed = drawn(Feed(numbered, reuse=2, memory=3, workers=workers), 7, 12, seed=4)
    assert resumed == whole[7:]
    assert drawn(Feed(numbered, reuse=2, memory=3), 0, 12, seed=5) != whole


def test_nothing_is_simulated_for_no_steps():
    assert list(Feed(lambda number: pytest.fail("simulated")).batches(5, 5, seed=0)) == []


def test_an_error_in_the_simulation_reaches_the_caller():
    def broken(number):
        raise RuntimeError("no library")

    with pytest.raises(RuntimeError, match="no library"):
        next(Feed(broken).batches(0, 3, seed=0))
