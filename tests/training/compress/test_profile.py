"""The profile: the figures that NumPy gets from all rows at once, in any number of parts."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.training.compress.nets import NETS
from training.compress import profile as module
from training.compress.profile import ActivationProfile, Activity, profile

FEATURES = 3
ROWS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(2, 9), st.just(FEATURES)),
    elements=st.one_of(st.just(0.0), st.floats(-1e6, 1e6, width=32)),
)


def dense() -> nn.Module:
    return nn.Linear(FEATURES, 2)


def require_figures(activity: Activity, values: NDArray[np.float32]) -> None:
    """Holds an activity against values [values, features]."""
    wide = values.astype(np.float64)
    assert activity.count == len(wide)
    np.testing.assert_array_equal(activity.zero_rate, (wide == 0).mean(0))
    np.testing.assert_array_equal(activity.min, wide.min(0))
    np.testing.assert_array_equal(activity.max, wide.max(0))
    scale = max(1.0, np.abs(wide).max())
    np.testing.assert_allclose(activity.mean, wide.mean(0), atol=1e-13 * scale)
    np.testing.assert_allclose(activity.variance, wide.var(0), rtol=1e-9, atol=1e-13 * scale**2)


@given(ROWS, st.integers(1, 10))
@settings(deadline=None, max_examples=60)
def test_batches_of_any_size_add_up(rows: NDArray[np.float32], batch_rows: int) -> None:
    require_figures(profile(dense(), rows, batch_rows).layers[""], rows)


@given(ROWS, st.data())
@settings(deadline=None, max_examples=60)
def test_two_profiles_merge_into_that_of_all_rows(rows: NDArray[np.float32], data: st.DataObject) -> None:
    middle = data.draw(st.integers(1, len(rows) - 1))
    net = dense()
    merged = profile(net, rows[:middle]).merge(profile(net, rows[middle:]))
    require_figures(merged.layers[""], rows)


def test_a_small_spread_far_from_zero_is_kept() -> None:
    rows = np.float32(1e6) + np.arange(8, dtype=np.float32).reshape(-1, 1).repeat(FEATURES, 1) / 8
    variance = profile(dense(), rows, 1).layers[""].variance
    np.testing.assert_allclose(variance, rows.astype(np.float64).var(0), rtol=1e-9)


def test_channels_of_a_convolution_are_counted_over_all_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 100)
    pictures = np.random.default_rng(6).standard_normal((5, 2, 4, 3)).astype(np.float32)
    pictures[:, 1] = np.maximum(pictures[:, 1], 0)
    activity = profile(nn.Conv2d(2, 3, 2), pictures, 2).layers[""]
    require_figures(activity, pictures.transpose(0, 2, 3, 1).reshape(-1, 2))


def test_a_dense_layer_has_a_feature_for_each_column_of_the_last_axis() -> None:
    tokens = np.random.default_rng(7).standard_normal((4, 5, FEATURES)).astype(np.float32)
    require_figures(profile(dense(), tokens).layers[""], tokens.reshape(-1, FEATURES))


class Twice(nn.Module):
    """Calls one layer two times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.layer(self.layer(x).relu())
        return answers


class Sized(nn.Module):
    """Tells a layer, behind its input, how large the output is to be; and calls another by name."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.dense = nn.ConvTranspose1d(FEATURES, FEATURES, 3, stride=2), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.dense(input=self.up(x, [8]))
        return answers


def test_what_a_layer_reads_is_its_first_argument_by_place_or_by_name() -> None:
    lines = np.random.default_rng(8).standard_normal((4, FEATURES, 3)).astype(np.float32)
    net = Sized()
    seen = profile(net, lines).layers
    require_figures(seen["up"], lines.transpose(0, 2, 1).reshape(-1, FEATURES))
    with torch.no_grad():
        require_figures(seen["dense"], net.up(torch.from_numpy(lines), [8]).numpy().reshape(-1, 8))


def test_a_layer_that_is_called_twice_has_both_readings() -> None:
    net = Twice()
    rows = np.random.default_rng(8).standard_normal((6, FEATURES)).astype(np.float32)
    with torch.no_grad():
        inner = net.layer(torch.from_numpy(rows)).relu().numpy()
    require_figures(profile(net, rows, 4).layers["layer"], np.concatenate((rows, inner)))


def test_kinds_of_features() -> None:
    rows = np.zeros((200, 5), np.float32)
    rows[:, 1] = 3.0
    rows[:, 2] = -2.0
    rows[0, 3] = 1.0
    rows[:3, 4] = 1.0
    activity = profile(nn.Linear(5, 1), rows).layers[""]
    assert activity.dead.tolist() == [True, False, False, False, False]
    assert activity.constant.tolist() == [True, True, True, False, False]
    assert activity.near_dead.tolist() == [False, False, False, True, False]


def test_values_that_are_no_numbers_are_no_constant() -> None:
    rows = np.full((3, FEATURES), np.nan, np.float32)
    activity = profile(dense(), rows).layers[""]
    assert not activity.constant.any()


@pytest.mark.parametrize("training", [True, False])
def test_the_net_is_left_as_it_was(training: bool) -> None:
    make, example = NETS["digits"]
    net = make().train(training)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    profile(net, example.numpy())
    assert all(torch.equal(before[key], tensor) for key, tensor in net.state_dict().items())
    assert all(part.training == training and not part._forward_pre_hooks for part in net.modules())


def test_every_layer_of_a_net_is_in_the_profile_and_json_holds_it() -> None:
    make, example = NETS["residual"]
    net = make()
    seen = profile(net, example.numpy())
    assert isinstance(seen, ActivationProfile)
    assert seen.layers.keys() == {
        name for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)
    }
    figures = json.loads(json.dumps(seen.as_json()))["classifier"]
    assert figures["count"] == 3
    assert len(figures["mean"]) == 64
    assert figures["dead"] == np.flatnonzero(seen.layers["classifier"].dead).tolist()
