"""SMS spam: 5,574 short messages in English, 747 of them spam.

Source: T. A. Almeida and J. M. Gomez Hidalgo, SMS Spam Collection, UCI Machine Learning Repository, 2011,
https://doi.org/10.24432/C5CC84, CC BY 4.0 (so a few rows may be published as the golden sample).

403 messages are repeats, and 3 more once they are cut. Each text counts once here, so none lies on both sides of a
split, and 5,168 are left. Spam that was sent in several wordings still does, so the figures speak of messages like
these.
"""

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from app.contract.manifest import Tolerance
from app.contract.tensors import DataType, InputSpec, OutputSpec
from training.compress.attention import Attention, blocking
from training.data import source
from training.data.dataset import Split, stratified
from training.data.text import PADDING, distinct, read_texts
from training.measure.accuracy import top1
from training.plan import Plan
from training.recipes.recipe import Recipe, Seeds

CLASSES = ("ham", "spam")
LENGTH = 160  # of one SMS; longer ones, a twentieth, are cut for training alone, as the net takes any length
STRIDE = 4  # bytes a place; attention over single ones would cost 16 times as much
BLANKS = 1 / 30
START = 2  # ASCII's sign for the start of a text; it has a place of its own, so that no text has none
FILE = "sms_spam_collection.tsv"
DOWNLOAD = source.Download(
    url="https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
    sha256="1587ea43e58e82b14ff1f5425c88e17f8496bfcdb67a583dbff9eefaf9963ce3",
    member="SMSSpamCollection",
)
SAMPLES = 16
SEEDS = Seeds(split=40, training=41, cross_validation=42)


def load() -> Split:
    """70 % train, 10 % validation, 20 % test; inputs uint8 [rows, 160], UTF-8 and zeros behind it."""
    messages = read_texts(source.find_or_fetch(FILE, DOWNLOAD), CLASSES, LENGTH)
    return stratified(distinct(messages), validation=0.1, test=0.2, seed=SEEDS.split)


class Block(nn.Module):
    """One layer of a transformer encoder, norms first (R. Xiong et al., arXiv:2002.04745)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, width // heads)
        self.dense_norm = nn.LayerNorm(width)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), mask)
        found: Tensor = x + self.dense(self.dense_norm(x))
        return found


class SmsNet(nn.Module):
    """A transformer encoder over the bytes of a text, four to a place: 632 thousand weights.

    Padding changes no answer: it is zero to the convolution, no place attends to it, and the mean leaves it out.
    """

    first: Tensor
    frequencies: Tensor

    def __init__(self, width: int = 128, heads: int = 4, layers: int = 3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, 32, padding_idx=PADDING)
        self.stem = nn.Conv1d(32, width, kernel_size=7, stride=STRIDE, padding=3)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, len(CLASSES))
        self.register_buffer("first", torch.ones(1, 1, 1), persistent=False)
        self.register_buffer("frequencies", frequencies(width), persistent=False)

    def forward(self, text: Tensor) -> Tensor:
        """uint8 [rows, length], UTF-8 and zeros behind it -> logits, float32 [rows, 2]."""
        bytes_ = functional.pad(text.long(), (STRIDE, 0), value=START)
        # As a convolution, so that the exporter has one formula for the length; proving those of a slice and of the
        # stem equal, again at every operation, takes it minutes.
        there = (bytes_ != PADDING).float().unsqueeze(1)
        real = functional.conv1d(there, self.first, stride=STRIDE).squeeze(1) > 0
        x = functional.relu(self.stem(self.embedding(bytes_).transpose(1, 2))).transpose(1, 2)
        x = x + self._places(real)
        mask = blocking(real)
        for block in self.blocks:
            x = block(x, mask)
        share = real.float().unsqueeze(-1)
        mean = (self.norm(x) * share).sum(1) / share.sum(1)
        logits: Tensor = self.classifier(mean)
        return logits

    def _places(self, real: Tensor) -> Tensor:
        """Sines and cosines of the places, [length, width] (arXiv:1706.03762, section 3.5): no length is the last."""
        place = torch.ones_like(real[0], dtype=torch.float32).cumsum(0)
        angles = place[:, None] * self.frequencies
        return torch.cat((angles.sin(), angles.cos()), dim=-1)


def frequencies(width: int) -> Tensor:
    """float32 [width / 2], from 1 down to 1/10,000 in equal ratios."""
    return torch.from_numpy(np.geomspace(1.0, 1e-4, width // 2, dtype=np.float32))


def vary(texts: Tensor, generator: Generator) -> Tensor:
    """Each text without its first 0 to 7 bytes, and about one byte in thirty of the rest replaced by a blank.

    uint8 [rows, length] -> the same. So no answer hangs on where a word falls within the steps of the stem, or on one
    word alone.
    """
    rows, length = texts.shape
    place = torch.randint(0, 8, (rows, 1), generator=generator) + torch.arange(length)
    moved = functional.pad(texts, (0, 8), value=PADDING).gather(1, place)
    blank = torch.rand(rows, length, generator=generator) < BLANKS
    return torch.where(blank & (moved != PADDING), ord(" "), moved)


SMS = Recipe(
    name="sms",
    task="text-classification",
    description="Short messages as UTF-8 bytes, spam or not (ham)",
    input=InputSpec(name="text", datatype=DataType.UINT8, shape=(-1, -1), pad_value=PADDING),
    output=OutputSpec(
        name="logits", datatype=DataType.FP32, shape=(-1, len(CLASSES)), labels=CLASSES, activation="softmax"
    ),
    tolerance=Tolerance(rtol=1e-3, atol=1e-3),
    load=load,
    net=SmsNet,
    loss=functional.cross_entropy,
    augment=vary,
    correct=top1,
    seeds=SEEDS,
    epochs=10,
    batch_rows=64,
    peak_learning_rate=2e-3,
    weight_decay=0.1,
    calibration_rows=512,
    samples=lambda split: split.test.inputs[:SAMPLES],
    plan=Plan(levels=(2.0, 3.0), grid=8, floor=0.25, recovery_epochs=6, presets=("portable", "vnni", "dynamic")),
)
