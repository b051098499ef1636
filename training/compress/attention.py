"""Attention whose heads can be removed."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.errors import RemovalRefused

BLOCKED = -3e4
"""Score of a place that may not be looked at. Its share is zero in every float type, and where all places are blocked
(a row of padding) the shares are equal, while minus infinity would make them NaN."""


class Attention(nn.Module):
    """Self-attention of several heads, each with its own rows of `q`, `k`, `v` and its own columns of `out`.

    A. Vaswani et al., Attention Is All You Need, arXiv:1706.03762, section 3.2.2. The layers lie apart, so that a head
    is a slice of each; `heads * head_width` need not be `width`. The outputs of `q`, `k` and `v` are no ordinary
    units: they stand or fall by whole heads, and a width that is no multiple of `head_width` is an error here.
    """

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.head_width = head_width
        self.q, self.k, self.v = (nn.Linear(width, heads * head_width) for _ in range(3))
        self.out = nn.Linear(heads * head_width, width)

    @property
    def heads(self) -> int:
        """How many heads there are, by the width of `q`: a removal cuts the layers and nothing else."""
        return self.q.out_features // self.head_width

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[rows, length, width] -> the same; `mask` is added to the scores, [rows, heads or 1, length or 1, length]."""
        return self.attend(x, x, x, mask)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """What each place of `query` finds at the places of `key`; the lengths of the two may differ."""
        q, k, v = self._split(self.q(query)), self._split(self.k(key)), self._split(self.v(value))
        scores = (q * self.head_width**-0.5) @ k.transpose(-2, -1)
        if mask is not None:
            scores = scores + mask
        found: Tensor = self.out((self._shares(scores) @ v).transpose(-3, -2).flatten(-2))
        return found

    def _shares(self, scores: Tensor) -> Tensor:
        return scores.softmax(-1)

    def _split(self, x: Tensor) -> Tensor:
        """[..., length, heads * head_width] -> [..., heads, length, head_width]."""
        split: Tensor = torch.unflatten(x, -1, (self.heads, self.head_width))
        return split.transpose(-3, -2)


def blocking(real: Tensor) -> Tensor:
    """The mask that lets every place look at the real ones alone; bool [rows, length] -> [rows, 1, 1, length]."""
    return torch.where(real, 0.0, BLOCKED)[:, None, None, :]


class DropInAttention(Attention):
    """An Attention that is called, and answers, as the nn.MultiheadAttention whose weights it took over.

    The second part of its answer, the shares, is always None.
    """

    batch_first = False
    """What nn.TransformerEncoderLayer asks before it takes its fast path, which knows packed weights alone."""

    def __init__(self, origin: nn.MultiheadAttention) -> None:
        super().__init__(origin.embed_dim, origin.num_heads, origin.head_dim)
        self.rows_first, self.dropout = origin.batch_first, origin.dropout
        for layer, weight, bias in zip(
            (self.q, self.k, self.v, self.out),
            (*_input_weights(origin), origin.out_proj.weight),
            (*_input_biases(origin), origin.out_proj.bias),
            strict=True,
        ):
            _fill(layer, weight, bias)
        self.train(origin.training)

    def forward(  # type: ignore[override]  # the call of another class
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """As nn.MultiheadAttention; True in a mask is a place that may not be looked at.

        `is_causal` is no more than a hint at what `attn_mask` holds.
        """
        mask = self._mask(key_padding_mask, attn_mask, query.dtype)
        if self.rows_first or query.dim() == 2:
            return self.attend(query, key, value, mask), None
        found = self.attend(query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1), mask)
        return found.transpose(0, 1), None

    def _mask(self, padding: Tensor | None, mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
        if mask is not None:
            mask = _added(mask, dtype)
            mask = torch.unflatten(mask, 0, (-1, self.heads)) if mask.dim() == 3 else mask
        if padding is not None:
            # [rows, keys], or [keys] of a single row, over the heads and places of the query.
            padding = _added(padding, dtype).unsqueeze(-2).unsqueeze(-2)
            mask = padding if mask is None else mask + padding
        return mask

    def _shares(self, scores: Tensor) -> Tensor:
        return functional.dropout(scores.softmax(-1), self.dropout, self.training)


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    if mask.dtype == torch.bool:
        return torch.where(mask, BLOCKED, 0.0).to(dtype)
    return mask.to(dtype).clamp(min=BLOCKED)


def _input_weights(origin: nn.MultiheadAttention) -> tuple[Tensor, ...]:
    packed: Any = origin.in_proj_weight  # None, whatever its annotation says, where keys have a width of their own
    if packed is not None:
        parts: tuple[Tensor, ...] = packed.chunk(3)
        return parts
    return origin.q_proj_weight, origin.k_proj_weight, origin.v_proj_weight


def _input_biases(origin: nn.MultiheadAttention) -> tuple[Tensor | None, ...]:
    packed: Any = origin.in_proj_bias
    return (None, None, None) if packed is None else packed.chunk(3)


def _fill(layer: nn.Linear, weight: Tensor, bias: Tensor | None) -> None:
    layer.out_features, layer.in_features = weight.shape
    layer.weight = nn.Parameter(weight.detach().clone())
    layer.bias = None if bias is None else nn.Parameter(bias.detach().clone())  # type: ignore[assignment]


def replace_attention(net: nn.Module) -> nn.Module:
    """A copy of the net with an Attention of the same answers in place of every nn.MultiheadAttention.

    Those inside nn.TransformerEncoder and its layers too, which then take their plain path in eval mode as well, so
    that places of padding hold numbers instead of zeros. Raises RemovalRefused, which names the layer, for one with
    `add_bias_kv` or `add_zero_attn`.
    """
    copy = deepcopy(net)
    replaced: dict[nn.Module, DropInAttention] = {}
    for name, module in list(copy.named_modules(remove_duplicate=False)):
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
        if type(module) is not nn.MultiheadAttention:  # what derives from it may compute something else
            continue
        if module.bias_k is not None or module.add_zero_attn:
            raise RemovalRefused(f"{name or 'net'}: expected no places but the input's, got added ones")
        if module not in replaced:
            replaced[module] = DropInAttention(module)
        if not name:
            return replaced[module]
        copy.set_submodule(name, replaced[module])
    return copy
