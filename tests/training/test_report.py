"""The report: its facts, the page, and that the page holds nothing but what it should."""

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests.training.example_report import ENTRIES, activity_layer, entry, example, layer, measured_layers
from training import plots
from training.canvas import to_png, to_svg
from training.compress.fuse import fold
from training.data.dataset import Split
from training.measure.responses import Responses, as_picture, first_filters, maps, respond, spread
from training.pareto import Terms
from training.pareto_plot import pareto_picture, pareto_plot
from training.plots import draw, fusion_picture
from training.recipes.digits import DIGITS
from training.report import (
    HTML,
    JSON,
    Activity,
    Entry,
    Fusion,
    Pictures,
    Report,
    number,
    render,
    states,
    write_report,
)

VOID = {"meta", "br", "link", "img", "path", "image", "use", "rect"}


class Page(HTMLParser):
    """Every tag with its attributes, all text, and whether each tag that opens also closes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, *names: str) -> Iterator[str]:
        return (value for _, given in self.tags for name, value in given.items() if name in names and value)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """The digits net, untrained: its layers are real, and what they respond to matters to nobody here."""
    return DIGITS.new_net(1).eval()


@pytest.fixture(scope="module")
def responses(net: nn.Module, split: Split) -> Responses:
    found = respond(fold(net).net, split.validation.inputs[0])
    assert found is not None
    return found


@pytest.fixture(scope="module")
def report(net: nn.Module, split: Split) -> Report:
    return example(measured_layers(net, split.validation.inputs))


@pytest.fixture(scope="module")
def pictures(report: Report, responses: Responses) -> Pictures:
    return draw(report, responses)


@pytest.fixture(scope="module")
def page(report: Report, pictures: Pictures) -> str:
    return render(report, pictures)


def test_both_files_are_written_and_the_facts_read_back(report: Report, pictures: Pictures, tmp_path: Path) -> None:
    write_report(report, pictures, tmp_path)
    assert Report.read(tmp_path) == report
    assert {path.name for path in tmp_path.iterdir()} == {JSON, HTML}


def test_the_page_is_whole_and_shows_every_drawing_and_figure(page: str, report: Report, pictures: Pictures) -> None:
    parsed = Page(page)
    assert parsed.open == []
    assert [tag for tag, _ in parsed.tags].count("svg") == 6
    for picture in (pictures.pareto, pictures.maps, pictures.filters):
        assert picture is not None
        assert picture.caption in parsed.text
    for text in (*(line.name for line in report.entries), "98.1 %", "0.07 MB", "7.68 to 8.40", "a drop of 2.2 points"):
        assert text in parsed.text


def test_the_page_says_what_was_asked_for_and_that_a_step_was_undone(report: Report, pictures: Pictures) -> None:
    asked = Terms(max_drop=0.5, max_class_drop=3, max_ms=2)
    page = render(report.model_copy(update={"terms": asked, "undone": "expected nothing, got more"}), pictures)
    text = " ".join(Page(page).text.split())
    assert "Asked for: a drop of at most 0.5 points, in any class of at most 3 points, at most 2 ms." in text
    assert "The lossless step was undone: expected nothing, got more." in text
    assert "undone" not in Page(render(report, pictures)).text


def test_the_page_loads_nothing_and_runs_nothing(page: str) -> None:
    parsed = Page(page)
    assert not {"script", "link", "iframe", "object", "img"} & {tag for tag, _ in parsed.tags}
    loaded = [*parsed.attributes("src", "href", "xlink:href", "srcset"), *re.findall(r"url\(([^)]*)\)", page)]
    assert loaded
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in loaded)
    assert not [name for _, given in parsed.tags for name in given if name.startswith("on")]


def test_the_page_holds_no_path_of_this_machine(page: str) -> None:
    words = re.sub(r"data:image/png;base64,[^\"]*", "", page)
    assert not re.findall(r"/(?:home|root|tmp|usr|opt|Users)/", words)
    assert str(Path(plots.__file__).parent.parent) not in words
    assert "matplotlib" not in page.lower()


def test_a_reader_who_does_not_see_is_told(page: str) -> None:
    parsed = Page(page)
    headers = [given for tag, given in parsed.tags if tag == "th"]
    assert headers
    assert all(given.get("scope") in ("col", "row") for given in headers)
    drawings = [given for _, given in parsed.tags if given.get("role") == "img"]
    assert len(drawings) == 6
    assert all(given["aria-label"] for given in drawings)
    assert ("html", {"lang": "en"}) in parsed.tags


def test_no_id_stands_twice(page: str) -> None:
    ids = list(Page(page).attributes("id"))
    assert len(ids) == len(set(ids))


def test_the_same_facts_give_the_same_bytes(report: Report, responses: Responses, page: str) -> None:
    assert render(report, draw(report, responses)) == page


def test_colours_follow_the_page_into_the_dark(pictures: Pictures) -> None:
    assert pictures.pareto is not None
    assert set(re.findall(r"(?:fill|stroke): (#\w+|var\([-\w]+\))", pictures.pareto.svg)) <= {
        "var(--ink)",
        "var(--muted)",
        "var(--faint)",
        "var(--accent)",
    }


HOSTILE = '</svg><script>alert("$x^{2$")</script>模型'


def test_hostile_names_stay_text() -> None:
    made = example((layer(HOSTILE, HOSTILE, 8, 0),))
    reason = made.entries[0].model_copy(update={"name": HOSTILE, "reasons": (HOSTILE,), "precision": HOSTILE})
    fusion = Fusion(exported={HOSTILE: 2}, runs={HOSTILE: 1}, fused={HOSTILE: 1})
    lineage = made.lineage.model_copy(update={"command": HOSTILE})
    facts = made.model_copy(
        update={"model": HOSTILE, "entries": (reason, *made.entries[1:]), "fusion": fusion, "lineage": lineage}
    )
    parsed = Page(render(facts, draw(facts)))
    assert "script" not in {tag for tag, _ in parsed.tags}
    assert parsed.open == []
    assert parsed.text.count(HOSTILE) >= 5


@pytest.mark.slow
def test_a_hundred_wide_layers_take_less_than_half_a_megabyte() -> None:
    layers = tuple(layer(f"stage.{place}.convolution", "Conv2d", 256, place) for place in range(100))
    facts = example(layers)
    assert len(render(facts, draw(facts)).encode()) < 500_000


def test_a_report_of_almost_nothing_can_be_drawn() -> None:
    failed = Entry(name="only", role="candidate", precision="fp32", accuracy=None, passed=False, reasons=("no parity",))
    facts = example().model_copy(update={"layers": (), "entries": (failed,), "fusion": Fusion(exported={}, runs={})})
    drawn = draw(facts)
    assert drawn == Pictures()
    text = Page(render(facts, drawn)).text
    assert "Nothing was chosen" in text
    assert "no parity" in text
    assert "What the layers respond to" not in text


def test_labels_cover_neither_each_other_nor_a_mark() -> None:
    figure = pareto_plot(example())
    (axes,) = figure.axes
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == len(ENTRIES)
    assert not [1 for place, box in enumerate(boxes) if box.count_overlaps(boxes[:place])]
    drawn = [
        axes.transData.transform((line.timings[1].p50_ms, 100 * line.accuracy.value))
        for line in example().entries
        if line.accuracy
    ]
    assert not [1 for box in boxes for x, y in drawn if box.contains(x, y)]


def test_a_collapsed_net_does_not_flatten_the_others() -> None:
    (axes,) = pareto_plot(example()).axes
    assert 94 < axes.get_ylim()[0] < 95.1


def test_the_plot_takes_another_batch_where_8_was_not_timed() -> None:
    facts = example()
    singles = tuple(line.model_copy(update={"timings": line.timings[:1]}) for line in facts.entries)
    picture = pareto_picture(facts.model_copy(update={"entries": singles}))
    assert picture is not None
    assert "batches of 1;" in picture.caption


def test_fusion_counts_nodes() -> None:
    picture = fusion_picture(Fusion(exported={"Conv": 2, "Relu": 2}, runs={"FusedConv": 2}))
    assert picture is not None
    assert picture.caption.startswith("4 operations were exported")
    assert "run: 2 nodes" in picture.svg


def test_a_drawing_becomes_a_png(tmp_path: Path) -> None:
    to_png(plots.activity_plot(example().layers), tmp_path / "one.png")
    to_png(plots.activity_plot(example().layers), tmp_path / "two.png")
    written = (tmp_path / "one.png").read_bytes()
    assert written.startswith(b"\x89PNG")
    assert written == (tmp_path / "two.png").read_bytes()


def test_ids_of_two_drawings_differ() -> None:
    figure = plots.widths_plot(example().layers)
    first, second = (set(re.findall(r' id="([^"]+)"', to_svg(figure, name))) for name in ("a", "b"))
    assert first
    assert not first & second


def test_a_unit_is_judged_by_what_it_did() -> None:
    assert states([1.0, 0.0, 0.995, 0.5], [0.0, 0.0, 0.1, 2.0]) == ("dead", "constant", "near-dead", "live")


def test_facts_that_contradict_each_other_are_refused() -> None:
    made = activity_layer("a", "Linear", np.array([0.5, 1.0]), np.ones(2), np.ones(2))
    assert made.activity is not None
    assert (made.units, made.after_lossless, made.after_pruning) == (2, 1, 0)
    with pytest.raises(ValidationError, match="columns of one length"):
        Activity.model_validate({**dict(made.activity), "mean": (1.0,)})
    with pytest.raises(ValidationError, match="expected 3 units"):
        type(made).model_validate({**dict(made), "units": 3})
    two = tuple(entry(*{**dict(enumerate(ENTRIES[7]))}.values()) for _ in range(2))
    with pytest.raises(ValidationError, match="at most one chosen"):
        Report.model_validate({**dict(example()), "entries": two})


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0"),
        (8.0, "8"),
        (0.5, "0.5"),
        (0.03121, "0.0312"),
        (1234.5, "1,234"),
        (100.0, "100"),
        (-1.714, "-1.71"),
        (99.96, "100"),
    ],
)
def test_numbers_read_as_a_person_writes_them(value: float, written: str) -> None:
    assert number(value) == written


def test_maps_are_what_the_layer_gave(net: nn.Module, split: Split) -> None:
    sample = split.validation.inputs[0]
    found = maps(net, ["features.0", "classifier.0"], sample)
    assert list(found) == ["features.0"]  # a dense layer has no map
    with torch.inference_mode():
        given = net.get_submodule("features.0")(torch.from_numpy(sample[None, None]) / 16).clamp(min=0)[0].double()
    np.testing.assert_allclose(found["features.0"], (given / given.max()).numpy(), atol=1e-6)
    assert not any(module._forward_hooks for module in net.modules())


def test_filters_keep_zero_in_the_middle() -> None:
    weight = torch.tensor([[[[-2.0, 0.0], [1.0, 2.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    found = first_filters(weight)
    assert found is not None
    np.testing.assert_allclose(found[..., 0], [[[0, 0.5], [0.75, 1]], [[0.5, 0.5], [0.5, 0.5]]])
    assert first_filters(torch.zeros(4, 5, 3, 3)) is None


@pytest.mark.parametrize(
    ("shape", "seen"),
    [
        ((8, 8), (8, 8, 1)),
        ((1, 8, 8), (8, 8, 1)),
        ((3, 8, 9), (8, 9, 3)),
        ((8, 9, 3), (8, 9, 3)),
        ((5, 8, 8), None),
        ((4,), None),
    ],
)
def test_a_sample_is_a_picture_or_none(shape: tuple[int, ...], seen: tuple[int, ...] | None) -> None:
    found = as_picture(np.arange(np.prod(shape), dtype=np.uint8).reshape(shape))
    assert (None if found is None else found.shape) == seen
    assert found is None or (found.min() >= 0 and found.max() == 1)


def test_a_net_without_convolutions_has_no_such_section() -> None:
    assert respond(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), np.zeros((8, 8), np.float32)) is None


def test_colour_filters_and_samples_can_be_drawn() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3)).eval()
    found = respond(net, np.random.default_rng(0).random((3, 12, 12), dtype=np.float32))
    assert found is not None
    assert found.filters is not None
    assert found.filters.shape == (5, 3, 3, 3)
    filters = plots.filters_picture(found)
    assert filters is not None
    assert "colours" in filters.caption
    assert plots.maps_picture(found) is not None
    assert plots.maps_picture(replace(found, maps={})) is None


def test_depths_are_spread_from_first_to_last() -> None:
    assert spread([str(place) for place in range(10)], 4) == ["0", "3", "6", "9"]
    assert spread(["a", "b"], 4) == ["a", "b"]
