"""The split and the folds: which rows go where."""

import numpy as np
import pytest

from training.data.dataset import Dataset, Split, stratified, stratified_folds

ROWS = 200


@pytest.fixture
def numbered() -> Dataset:
    """Rows that can be told apart: each input is its own number. A tenth are of class 1."""
    return Dataset(np.arange(ROWS, dtype=np.float32)[:, None], (np.arange(ROWS) % 10 == 0).astype(np.int64))


def ids(dataset: Dataset) -> set[int]:
    return {int(row) for row in dataset.inputs[:, 0]}


def parts(split: Split) -> tuple[Dataset, Dataset, Dataset]:
    return split.train, split.validation, split.test


def test_every_row_is_in_exactly_one_part(numbered: Dataset) -> None:
    split = stratified(numbered, validation=0.1, test=0.2, seed=1)
    assert [len(part) for part in parts(split)] == [140, 20, 40]
    assert set.union(*(ids(part) for part in parts(split))) == ids(numbered)


def test_classes_keep_their_share_in_every_part(numbered: Dataset) -> None:
    for part in parts(stratified(numbered, validation=0.1, test=0.2, seed=1)):
        assert part.targets.mean() == pytest.approx(0.1)


def test_targets_stay_with_their_rows(numbered: Dataset) -> None:
    for part in parts(stratified(numbered, validation=0.1, test=0.2, seed=1)):
        assert np.array_equal(part.targets, part.inputs[:, 0] % 10 == 0)


def test_development_is_all_but_the_test_rows(numbered: Dataset) -> None:
    split = stratified(numbered, validation=0.1, test=0.2, seed=1)
    assert ids(split.development) == ids(numbered) - ids(split.test)


def test_a_seed_fixes_the_split(numbered: Dataset) -> None:
    first, again, other = (stratified(numbered, validation=0.1, test=0.2, seed=seed) for seed in (1, 1, 2))
    assert first.sha256 == again.sha256 != other.sha256


def test_the_digest_sees_a_changed_row_and_a_moved_one(numbered: Dataset) -> None:
    split = stratified(numbered, validation=0.1, test=0.2, seed=1)
    changed = Dataset(split.test.inputs + 1, split.test.targets)
    assert Split(split.train, split.validation, changed).sha256 != split.sha256
    assert Split(split.train, split.test, split.validation).sha256 != split.sha256


def test_folds_hold_out_every_row_once_in_each_repeat(numbered: Dataset) -> None:
    folds = list(stratified_folds(numbered, folds=4, repeats=2, seed=1))
    assert len(folds) == 8
    for repeat in (folds[:4], folds[4:]):
        held_out = [row for _, part in repeat for row in ids(part)]
        assert sorted(held_out) == list(range(ROWS))
    for trained, part in folds:
        assert not ids(trained) & ids(part)
        assert ids(trained) | ids(part) == ids(numbered)
    assert ids(folds[0][1]) != ids(folds[4][1])
