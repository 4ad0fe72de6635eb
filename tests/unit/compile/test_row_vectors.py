"""Vectors along a row: every word is written once, every lane reads what its tap reads."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from binas.compile.kernels import cutting
from binas.compile.kernels.row_vectors import runs
from binas.core import bits
from binas.core.layer import Layer

LAYERS = st.builds(
    lambda C, W, S, stride, dilation, left, right: Layer(
        op="binary_conv",
        in_shape=(1, 1, W + dilation * (S - 1), C),
        out_channels=C,
        groups=C,
        kernel=(1, S),
        stride=(1, stride),
        dilation=(1, dilation),
        padding=(0, left, 0, right),
    ),
    st.sampled_from([31, 33, 65, 96, 127, 129, 256, 300]),
    st.integers(1, 20),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(0, 9),
    st.integers(0, 9),
)


@given(LAYERS, st.sampled_from([4, 8, 16]))
def test_every_lane_reads_its_tap_and_every_word_is_written_once(layer: Layer, V: int) -> None:
    words, stride = bits.words(layer.in_shape[3]), layer.stride[1]
    _, valid = cutting.classes(layer)
    kinds = sorted(set(valid), key=repr)
    written: list[int] = []
    for run in runs(layer, V, range(layer.out_shape[2])):
        for index in range(run.repeat):
            start = run.start + index * run.step
            written += range(start, start + run.used)
            read = {tap.s: tap for tap in run.taps}
            for lane in range(run.used):
                q, word = divmod(start + lane, words)
                assert kinds[run.kinds[lane]] == valid[q]
                for s in range(layer.kernel[1]):
                    offset = read[s].offsets[lane] if s in read else None
                    assert (offset is not None) == (s in valid[q])
                    if offset is not None:
                        column = q * stride + s * layer.dilation[1] - layer.padding[1]
                        at = read[s].base + index * run.in_step + offset
                        assert at == column * words + word
    assert sorted(written) == list(range(layer.out_shape[2] * words))


def test_the_middle_of_a_row_is_one_run() -> None:
    layer = Layer(
        op="binary_conv",
        in_shape=(1, 1, 56, 64),
        out_channels=64,
        groups=64,
        kernel=(1, 3),
        padding=(0, 1, 0, 1),
    )
    assert [run.repeat for run in runs(layer, 8, range(56))] == [1, 12, 1]
