"""Attention: PyTorch's own taken over with the same answers."""

import pytest
import torch
from torch import Tensor, nn

from training.compress.attention import Attention, DropInAttention, blocking, replace_attention
from training.compress.groups import cut
from training.compress.heads import head_groups
from training.errors import RemovalRefused

ROWS, LENGTH, WIDTH, HEADS = 3, 5, 8, 4
PADDING = torch.arange(LENGTH) >= torch.tensor([[5], [3], [1]])
LATER = torch.ones(LENGTH, LENGTH).triu(1).bool()


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(7)


def shaken(net: nn.Module) -> nn.Module:
    """Biases start at zero in PyTorch's attention, where a mistaken one would not show."""
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.4)
    return net


@pytest.mark.parametrize(
    "masks",
    [{}, {"key_padding_mask": PADDING}, {"attn_mask": LATER}, {"attn_mask": LATER, "key_padding_mask": PADDING}],
    ids=["none", "padding", "later", "both"],
)
@pytest.mark.parametrize("batch_first", [True, False])
def test_it_answers_as_the_attention_it_replaces(batch_first: bool, masks: dict[str, Tensor]) -> None:
    theirs = shaken(nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch_first)).eval()
    x = torch.randn((ROWS, LENGTH, WIDTH) if batch_first else (LENGTH, ROWS, WIDTH))
    ours = replace_attention(theirs)
    assert isinstance(ours, DropInAttention)
    torch.testing.assert_close(ours(x, x, x, **masks)[0], theirs(x, x, x, **masks)[0], rtol=0, atol=1e-5)


def test_it_takes_masks_of_numbers_masks_of_each_head_and_one_row_alone() -> None:
    theirs = shaken(nn.MultiheadAttention(WIDTH, HEADS, bias=False, batch_first=True)).eval()
    ours = replace_attention(theirs)
    x, each = torch.randn(ROWS, LENGTH, WIDTH), torch.randn(ROWS * HEADS, LENGTH, LENGTH)
    torch.testing.assert_close(ours(x, x, x, attn_mask=each)[0], theirs(x, x, x, attn_mask=each)[0])
    minus = torch.zeros(LENGTH, LENGTH).masked_fill(LATER, -torch.inf)
    torch.testing.assert_close(ours(x, x, x, attn_mask=minus)[0], theirs(x, x, x, attn_mask=minus)[0])
    row, ends = x[0], PADDING[1]
    torch.testing.assert_close(
        ours(row, row, row, key_padding_mask=ends)[0], theirs(row, row, row, key_padding_mask=ends)[0]
    )


def test_it_looks_at_other_rows_too_of_another_width() -> None:
    theirs = shaken(nn.MultiheadAttention(WIDTH, HEADS, kdim=6, vdim=7, batch_first=True)).eval()
    query, key, value = torch.randn(ROWS, 2, WIDTH), torch.randn(ROWS, LENGTH, 6), torch.randn(ROWS, LENGTH, 7)
    got = replace_attention(theirs)(query, key, value, key_padding_mask=PADDING)[0]
    torch.testing.assert_close(got, theirs(query, key, value, key_padding_mask=PADDING)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_an_encoder_answers_as_before_with_its_fast_path_off(batch_first: bool, norm_first: bool) -> None:
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 16, batch_first=batch_first, norm_first=norm_first)
    theirs = shaken(nn.TransformerEncoder(layer, 2)).eval()
    ours = replace_attention(theirs)
    assert sum(isinstance(module, DropInAttention) for module in ours.modules()) == 2
    assert not any(isinstance(module, nn.MultiheadAttention) for module in ours.modules())
    x = torch.randn(ROWS, LENGTH, WIDTH)
    x = x if batch_first else x.transpose(0, 1)
    with torch.no_grad():
        expected = theirs(x, src_key_padding_mask=PADDING)
        got = ours(x, src_key_padding_mask=PADDING)
        smaller = cut(ours, head_groups(ours), {"layers.0.self_attn.q": [1], "layers.1.self_attn.q": [0, 3]})
        assert not torch.allclose(smaller(x, src_key_padding_mask=PADDING), got, atol=1e-3)
    # What stands at a place of padding is nobody's answer: the fast path has zeros there.
    there = ~PADDING if batch_first else ~PADDING.T
    torch.testing.assert_close(got[there], expected[there], rtol=0, atol=1e-5)


def test_in_training_it_drops_shares_as_the_one_it_replaces() -> None:
    theirs = nn.MultiheadAttention(WIDTH, HEADS, dropout=0.9)
    ours, x = replace_attention(theirs), torch.randn(LENGTH, ROWS, WIDTH)
    assert not torch.allclose(ours(x, x, x)[0], ours(x, x, x)[0])
    assert torch.equal(ours.eval()(x, x, x)[0], ours(x, x, x)[0])
    assert theirs.training


def test_an_attention_of_two_places_is_still_one() -> None:
    shared = nn.MultiheadAttention(WIDTH, HEADS)
    net = replace_attention(nn.ModuleList([shared, shared]))
    assert net[0] is net[1]  # type: ignore[index]


@pytest.mark.parametrize("added", ["add_bias_kv", "add_zero_attn"])
def test_added_places_are_refused_and_not_forgotten(added: str) -> None:
    net = nn.Sequential(nn.ReLU(), nn.MultiheadAttention(WIDTH, HEADS, **{added: True}))  # type: ignore[arg-type]
    with pytest.raises(RemovalRefused, match=r"^1: expected no places but the input's"):
        replace_attention(net)


def test_a_row_of_padding_alone_gives_numbers() -> None:
    attention = Attention(WIDTH, HEADS, 2)
    answers = attention(torch.randn(2, LENGTH, WIDTH), blocking(torch.zeros(2, LENGTH, dtype=torch.bool)))
    assert answers.isfinite().all()


def test_what_is_blocked_changes_nothing() -> None:
    attention, x = Attention(WIDTH, HEADS, 2), torch.randn(ROWS, LENGTH, WIDTH)
    other = torch.where(PADDING[:, :, None], 100.0, x)
    answers = [attention(rows, blocking(~PADDING))[~PADDING] for rows in (x, other)]
    torch.testing.assert_close(*answers, rtol=0, atol=1e-5)


def test_a_width_that_is_no_whole_heads_is_an_error() -> None:
    attention = Attention(WIDTH, HEADS, 2)
    for layer in (attention.q, attention.k, attention.v):
        layer.weight = nn.Parameter(layer.weight[:7])
        layer.bias = nn.Parameter(layer.bias[:7])
    with pytest.raises(RuntimeError, match="unflatten"):
        attention(torch.randn(ROWS, LENGTH, WIDTH))
