"""The report of a demo says what the record says: made of numbers that are all different."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from binas.core import record
from binas.runtime import html
from binas.search import picture
from binas.search.genotype import Genotype
from binas.search.space import Space
from examples.demo import pictures
from examples.demo.page import page, terminal_table
from examples.demo.summary import (
    Course,
    Demo,
    Epoch,
    Estimate,
    LayerTime,
    Net,
    Sample,
    Stair,
    Verified,
)

SPACE = Space(input_shape=(1, 16, 16), classes=10, stages=2, max_cells=2)
GENOTYPE = Genotype(
    space=SPACE,
    widths=(3, 1),
    normal=((("b3", "none", "b3"), ("skip", "b3", "none")), (("b3", "skip", "none"),)),
    reduction=(("b3", "pool", "none"),),
)


def net(accuracy: float, measured_us: float) -> Net:
    """A network of two steps."""
    return Net(
        seed=7,
        accuracy=accuracy,
        predicted_us=measured_us * 0.9,
        measured_us=measured_us,
        p10_us=measured_us - 1,
        p90_us=measured_us + 1,
        biops=1_234_000,
        flops=99,
        binary_weight_bytes=4_321,
        artifact_bytes=345_678,
        genotype=GENOTYPE,
        layers=(
            LayerTime(name="stem", layer="conv", kind="float", measured_us=measured_us / 4),
            LayerTime(name="conv", layer="binary", kind="binary", measured_us=measured_us / 2),
        ),
        doubts=(),
    )


def course(shift: float) -> Course:
    """Three epochs, the first a warm-up, and two samples."""
    epochs = [
        Epoch(epoch=1, accuracy=None, expected_us=40.0, entropy=2.0),
        Epoch(epoch=2, accuracy=0.5 + shift, expected_us=35.0, entropy=1.5),
        Epoch(epoch=3, accuracy=0.8 + shift, expected_us=30.0, entropy=1.0),
    ]
    samples = [
        Sample(accuracy=0.9 + shift, predicted_us=30.0, chosen=True),
        Sample(accuracy=0.7 + shift, predicted_us=20.0, chosen=False),
    ]
    return Course(epochs=tuple(epochs), samples=tuple(samples))


DEMO = Demo(
    data="glyphs",
    device="host",
    cpu="a <CPU> & more",
    target_us=26.0,
    target_ratio=0.65,
    baseline=net(0.981, 40.0),
    latency_aware=net(0.972, 25.0),
    parent=net(0.987, 93.0),
    searches={"baseline": course(0.01), "latency_aware": course(0.0)},
    verify=Verified(
        binary_layers_exact=True, max_abs_error=2.5e-7, flips=3, links=("onnx = numpy", "a = b")
    ),
    estimate=Estimate(device="rpi4", cpu="cortex-a72", kind="estimate", instructions={"n": 54321}),
    staircase=tuple(
        Stair(channels=c, macs=c * c, measured_us=c / 8, p10_us=c / 9, p90_us=c / 7)
        for c in (8, 16, 24)
    ),
    fixed_us=0.5,
    table_layers=12,
    seconds={"table": 3.0},
    versions={"binas": "0.1.0"},
)


def test_the_record_goes_to_disk_and_back() -> None:
    assert record.loads(Demo, record.dumps(DEMO), where="memory") == DEMO


def test_the_record_has_the_keys_that_others_read() -> None:
    data = record.to_dict(DEMO)
    assert data["schema"] == "binas.demo/1"
    for name in ("baseline", "latency_aware", "parent"):
        assert {
            "seed",
            "accuracy",
            "predicted_us",
            "measured_us",
            "biops",
            "artifact_bytes",
        } <= set(data[name])
    assert {"binary_layers_exact", "max_abs_error", "links"} <= set(data["verify"])


def test_the_page_shows_every_number_of_the_table() -> None:
    text = html.render(page(DEMO))
    for shown in ("98.1%", "97.2%", "98.7%", "36.00", "22.50", "83.70", "40.00", "25.00", "93.00"):
        assert shown in text, shown
    for shown in ("1.23 M", "4,321", "345,678", "54,321", "bit-exact", "From glyphs"):
        assert shown in text, shown
    assert "a &lt;CPU&gt; &amp; more" in text


def test_the_ratio_on_top_is_the_measured_one() -> None:
    assert page(DEMO).facts[0].value == "0.62"
    slower = replace(DEMO, latency_aware=net(0.9, 80.0))
    assert page(slower).facts[0].value == "2.00"


def test_a_wrong_answer_is_not_called_exact() -> None:
    wrong = replace(DEMO, verify=replace(DEMO.verify, binary_layers_exact=False))
    text = html.render(page(wrong))
    assert "NOT exact" in text
    assert "bit-exact" not in text


def test_instructions_are_called_an_estimate_and_never_a_latency() -> None:
    text = html.render(page(DEMO))
    assert "(estimate)" in text
    assert "never a latency" in text


def test_a_doubt_about_a_time_stands_beside_it() -> None:
    assert "No doubts" in html.render(page(DEMO))
    doubted = replace(DEMO, baseline=replace(DEMO.baseline, doubts=("load was 9",)))
    assert "baseline: load was 9" in html.render(page(doubted))


def test_the_terminal_shows_one_row_per_network() -> None:
    out = io.StringIO()
    Console(file=out, width=120).print(terminal_table(DEMO))
    said = out.getvalue()
    for label in ("baseline", "latency-aware", "real-valued twin"):
        assert label in said
    assert "one seed" in said


def test_a_network_is_drawn_block_by_block_with_its_own_channels() -> None:
    blocks = picture.blocks(GENOTYPE)
    assert [block.name for block in blocks] == [
        "stem, stride 2",
        "stage 1, cell 1",
        "stage 1, cell 2",
        "reduction 1",
        "stage 2, cell 1",
        "classifier",
    ]
    assert [block.channels for block in blocks] == [64, 64, 64, 64, 64, 10]
    assert [block.rows for block in blocks] == [8, 8, 8, 4, 4, 1]
    assert [(e.source, e.target, e.op) for e in blocks[1].edges] == [(0, 1, "b3"), (1, 2, "b3")]


def test_warm_up_epochs_leave_a_gap_and_not_a_zero() -> None:
    figure = pictures.panel(DEMO, "accuracy", "accuracy", "t", "c")
    assert ">0%<" not in figure.svg
