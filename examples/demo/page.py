"""`report.html` of a demo run, and its table for the terminal: both drawn from the record alone."""

from __future__ import annotations

from rich.table import Table as Lines

from binas.runtime import drawing, html
from binas.search import picture
from examples.demo import pictures
from examples.demo.pictures import LABELS
from examples.demo.summary import Demo, Net


def terminal_table(demo: Demo) -> Lines:
    """The one table at the end of a run."""
    lines = Lines(title=f"{demo.data} on {demo.device}, seed {demo.baseline.seed} (one seed)")
    lines.add_column("network", no_wrap=True)
    for head in _HEAD[1:]:
        lines.add_column(head, justify="right")
    for row in _rows(demo):
        lines.add_row(*row)
    return lines


def page(demo: Demo) -> html.Report:
    """The report."""
    ratio = demo.latency_aware.measured_us / demo.baseline.measured_us
    return html.Report(
        title=f"From {demo.data} to a timed 1-bit network",
        lead=(
            "Two searches with the same space, epochs and seed: one for accuracy alone, one "
            f"also for latency measured on this machine ({demo.cpu}). One seed: it shows the way, "
            "not an order of methods."
        ),
        facts=(
            html.Fact(
                value=f"{ratio:.2f}",
                label=f"of the baseline's latency, measured; asked for {demo.target_ratio:.2f}",
                tone="hue-2",
            ),
            html.Fact(
                value=f"{demo.latency_aware.accuracy:.1%}",
                label=f"right, at 1 bit; baseline {demo.baseline.accuracy:.1%}, "
                f"real-valued twin {demo.parent.accuracy:.1%}",
                tone="hue-2",
            ),
            html.Fact(
                value=html.microseconds(demo.latency_aware.measured_us),
                label="measured per image; the table said "
                + html.microseconds(demo.latency_aware.predicted_us),
                tone="hue-2",
            ),
            html.Fact(
                value=_exact(demo),
                label=f"binary layers, over {len(demo.verify.links)} links, ONNX to machine code",
                tone="hue-4",
            ),
        ),
        legend=(
            ("hue-1", "searched without latency"),
            ("hue-2", "searched with latency"),
            ("hue-3", "real-valued twin of the second"),
            ("binary", "arithmetic on bits"),
            ("float", "arithmetic on floats"),
            ("plain", "moves, means and adds"),
        ),
        sections=(
            _networks(demo),
            _course(demo),
            _plane(demo),
            _time(demo),
            _stairs(demo),
            _checked(demo),
        ),
        footer=" · ".join(f"{name} {version}" for name, version in demo.versions.items()),
    )


_HEAD = (
    "network",
    "accuracy",
    "predicted µs",
    "measured µs",
    "BiOps",
    "binary weight bytes",
    "artifact bytes",
)


def _rows(demo: Demo) -> tuple[tuple[str, ...], ...]:
    nets = (demo.baseline, demo.latency_aware, demo.parent)
    return tuple(
        (
            label,
            f"{net.accuracy:.1%}",
            f"{net.predicted_us:.2f}",
            f"{net.measured_us:.2f}",
            f"{net.biops / 1e6:.2f} M" if net.biops else "0",
            f"{net.binary_weight_bytes:,}",
            f"{net.artifact_bytes:,}",
        )
        for label, net in zip(LABELS, nets, strict=True)
    )


def _exact(demo: Demo) -> str:
    return "bit-exact" if demo.verify.binary_layers_exact else "NOT exact"


def _doubts(demo: Demo) -> str:
    nets = (demo.baseline, demo.latency_aware, demo.parent)
    found = [
        f"{label}: {doubt}" for label, net in zip(LABELS, nets, strict=True) for doubt in net.doubts
    ]
    return f"Doubts about the times: {'; '.join(found)}." if found else "No doubts about the times."


def _networks(demo: Demo) -> html.Section:
    nets = (demo.baseline, demo.latency_aware)
    chains = [picture.blocks(net.genotype) for net in nets]
    widest = max(block.channels for chain in chains for block in chain)
    return html.Section(
        title="The networks",
        text=(
            "Predicted is the sum of the table's layers plus the fixed cost of a run; measured is "
            "the median over batches of runs on the device's own clock."
        ),
        blocks=(
            html.Table(
                head=_HEAD,
                rows=_rows(demo),
                caption="Accuracy on held-out images. Two operations per multiply-accumulate. "
                + _doubts(demo),
            ),
            html.Columns(
                blocks=tuple(
                    html.Figure(
                        title=f"{label.capitalize()}, {html.microseconds(net.measured_us)}",
                        svg=drawing.draw(chain, title=f"{label} network", widest=widest),
                        caption="A slab is as wide as the block has channels. Binary: "
                        "b3, a 3x3 convolution on bits with its shortcut.",
                    )
                    for label, net, chain in zip(LABELS, nets, chains, strict=False)
                )
            ),
        ),
    )


def _course(demo: Demo) -> html.Section:
    return html.Section(
        title="The course of the two searches",
        text=(
            "Weights and architecture are trained in turns; the second search adds the expected "
            "latency of the whole network to its loss."
        ),
        blocks=(
            html.Figures(
                figures=(
                    pictures.panel(
                        demo,
                        "accuracy",
                        "accuracy",
                        "Accuracy of the supernet",
                        "On validation images, which train no weights.",
                    ),
                    pictures.panel(
                        demo,
                        "expected_us",
                        "µs",
                        "Expected latency",
                        "Of the supernet's choices, priced with measured layers.",
                    ),
                    pictures.panel(
                        demo,
                        "entropy",
                        "open choices",
                        "Entropy",
                        "Each choice counts 1 while all is alike, 0 when made.",
                    ),
                )
            ),
        ),
    )


def _plane(demo: Demo) -> html.Section:
    return html.Section(
        title="Accuracy and latency",
        text=(
            "Left, the retrained networks: measured latency, accuracy on held-out images. Right, "
            "those drawn when deriving: predicted latency, accuracy on validation images with the "
            "supernet's weights."
        ),
        blocks=(
            html.Figures(
                figures=(
                    html.Figure(
                        title="The plane",
                        svg=pictures.networks_plane(demo),
                        caption="Left and up is better. Dotted: no network here beats these.",
                    ),
                    html.Figure(
                        title="What the searches drew",
                        svg=pictures.samples_plane(demo),
                        caption="Colours as above. The chosen one is the most accurate of those "
                        "within what was asked for.",
                    ),
                )
            ),
        ),
    )


def _stairs(demo: Demo) -> html.Section:
    return html.Section(
        title="Why latency is measured and not counted",
        text=(
            "Kernels work on words of 32 channels and on vectors of output channels, so time "
            "climbs in stairs where multiply-accumulates climb smoothly. A search that counts "
            "takes a narrower layer for a cheaper one where it is not."
        ),
        blocks=(
            html.Figures(
                figures=(
                    html.Figure(
                        title="Time",
                        svg=pictures.staircase(demo.staircase),
                        caption="An 8x8 image; median, with the band from p10 to p90.",
                    ),
                    html.Figure(
                        title="Time for the same work",
                        svg=pictures.time_per_mac(demo.staircase),
                        caption="It would be a level line if counting were enough.",
                    ),
                )
            ),
        ),
    )


def _time(demo: Demo) -> html.Section:
    nets = (demo.baseline, demo.latency_aware)
    largest = max(layer.measured_us for net in nets for layer in net.layers)
    return html.Section(
        title="Time per layer",
        text=(
            "Each step measured by itself, in order of execution; the two share one scale. A run "
            f"costs {html.microseconds(demo.fixed_us)} besides its layers."
        ),
        blocks=(
            html.Columns(
                blocks=tuple(
                    html.share_bars(
                        [(layer.name, layer.measured_us, layer.kind) for layer in net.layers],
                        title=f"{label.capitalize()}, {html.microseconds(net.measured_us)} in all",
                        caption=_split(net),
                        largest=largest,
                    )
                    for label, net in zip(LABELS, nets, strict=False)
                )
            ),
        ),
    )


def _split(net: Net) -> str:
    total = sum(layer.measured_us for layer in net.layers)
    binary = sum(layer.measured_us for layer in net.layers if layer.kind == "binary")
    return f"{binary / total:.0%} of the layers' time is arithmetic on bits."


def _checked(demo: Demo) -> html.Section:
    counts = demo.estimate.instructions
    return html.Section(
        title="What was checked, and what is only estimated",
        text=(
            f"Binary layers: {_exact(demo)}; {demo.verify.flips} bits lie at their threshold; "
            f"floats differ by {demo.verify.max_abs_error:.2g} at most. For {demo.estimate.device} "
            f"({demo.estimate.cpu}) there is no board here: its artifact was verified under "
            "emulation, and its instructions are counted. They are an estimate, never a latency."
        ),
        blocks=(
            html.Table(
                head=("link", "compared"),
                rows=tuple((link, "yes") for link in demo.verify.links),
            ),
            html.Table(
                head=("network", f"instructions per image on {demo.estimate.cpu} (estimate)"),
                rows=tuple((name, f"{count:,}") for name, count in counts.items()),
            ),
        ),
    )
