"""What the demo shows: a live picture, or lines without a terminal, and tables afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from loadtests.simulation import Tally

BAR_CELLS_MAX = 28
CURVE_CELLS_MAX = 40
OTHER_CELLS = 47  # Frame, the columns of numbers, and the gaps between columns.
COLOURS = ("green", "magenta", "blue", "yellow", "cyan", "red")


@dataclass(slots=True)
class Progress:
    """Everything a picture is made from."""

    rates: Mapping[str, float]
    customers: int
    seconds: float
    tally: Tally
    elapsed_s: float = 0.0
    send_size: int = 0
    send_s: float = 0.0
    version: int = 0
    allocation: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)

    def saw(self, report: Mapping[str, Any]) -> None:
        """Take the allocation in force from a report."""
        self.version = report["allocation_version"]
        self.allocation = {line["variant"]: line["allocation"] for line in report["variants"]}
        self.history.append(self.allocation)

    @property
    def gained(self) -> float:
        """Visits expected at the true rates, above those of an even split of the same sends."""
        even = sum(self.rates.values()) / len(self.rates)
        return self.tally.expected(self.rates) - self.tally.sends.total() * even


class Pen(NamedTuple):
    """What bars and curves are drawn with, and how long they may be."""

    full: str
    empty: str
    steps: str
    bar_cells: int
    curve_cells: int


def pen_of(console: Console) -> Pen:
    """Return a pen for the terminal's width, with ASCII where it cannot show block characters."""
    spare = max(console.width - OTHER_CELLS, 2)
    bar_cells = min(spare // 2, BAR_CELLS_MAX)
    cells = (bar_cells, min(spare - bar_cells, CURVE_CELLS_MAX))
    if console.options.ascii_only:
        return Pen("#", ".", "_.-=+*%#", *cells)
    return Pen("█", "░", "▁▂▃▄▅▆▇█", *cells)


def picture(progress: Progress, pen: Pen) -> RenderableType:
    """Draw the state of the demo."""
    title = f"{progress.customers:,} customers, three variants, one visit to win"
    is_sending = progress.elapsed_s <= progress.seconds
    clock = f"{progress.elapsed_s:.0f} s of {progress.seconds:.0f}" if is_sending else "all sent"
    parts = (_headline(progress), _variants(progress, pen), _footline(progress))
    return Panel(Group(*parts), title=title, subtitle=clock, padding=(1, 1))


def _headline(progress: Progress) -> Text:
    sends, visits = progress.tally.sends.total(), progress.tally.visits.total()
    rate = f" ({visits / sends:.1%})" if sends else ""
    return Text(
        f"{sends:,} sends, {visits:,} visits so far{rate}; allocation {progress.version}\n"
        f"{progress.gained:+,.0f} visits expected against an even split\n"
    )


def _variants(progress: Progress, pen: Pen) -> Table:
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    for name in ("variant", "sends", "visits", "observed", "true"):
        justify: JustifyMethod = "left" if name == "variant" else "right"
        table.add_column(name, justify=justify, no_wrap=True)
    table.add_column("allocation", no_wrap=True, min_width=pen.bar_cells + 5)
    table.add_column("over time", no_wrap=True, min_width=pen.curve_cells)
    for i, (variant, rate) in enumerate(progress.rates.items()):
        colour = COLOURS[i % len(COLOURS)]
        share = progress.allocation.get(variant, 0.0)
        past = [allocation[variant] for allocation in progress.history]
        table.add_row(
            Text(variant, colour),
            *_counts(progress.tally, variant),
            f"{rate:.1%}",
            Text(f"{bar(share, pen)} {share:4.0%}", colour),
            Text(curve(past, pen), colour),
        )
    return table


def _counts(tally: Tally, variant: str) -> tuple[str, str, str]:
    sends, visits = tally.sends[variant], tally.visits[variant]
    return f"{sends:,}", f"{visits:,}", f"{visits / sends:.1%}" if sends else "-"


def _footline(progress: Progress) -> Text:
    tally = progress.tally
    speed = progress.send_size / progress.send_s if progress.send_s else 0.0
    return Text(
        f"\nlast send: {progress.send_size:,} decisions in {progress.send_s * 1_000:.0f} ms "
        f"({speed:,.0f} a second)\n{tally.retried:,} sends asked for twice and "
        f"{tally.repeated:,} visits reported twice, counted once",
        "dim",
    )


def bar(share: float, pen: Pen) -> str:
    """Draw a share of 1 as a bar."""
    full = round(min(max(share, 0.0), 1.0) * pen.bar_cells)
    return pen.full * full + pen.empty * (pen.bar_cells - full)


def curve(past: Sequence[float], pen: Pen) -> str:
    """Draw shares over time, all of the past squeezed into one line."""
    cells = min(len(past), pen.curve_cells)
    sampled = [past[(i + 1) * len(past) // cells - 1] for i in range(cells)]
    top = len(pen.steps) - 1
    return "".join(pen.steps[round(min(max(share, 0.0), 1.0) * top)] for share in sampled)


def line(progress: Progress) -> str:
    """Say the state of the demo in one line, for pipes and logs."""
    shares = "  ".join(f"{name} {share:.0%}" for name, share in progress.allocation.items())
    return (
        f"{progress.elapsed_s:5.1f} s  {progress.tally.sends.total():>6,} sends  "
        f"{progress.tally.visits.total():>6,} visits  allocation {progress.version}: {shares}"
    )


def report_table(report: Mapping[str, Any], rates: Mapping[str, float]) -> Table:
    """Show the service's own report; `loss` is the expected loss."""
    table = _table("The report, and the true rates, which the service was never told")
    names = ("pulls", "rewards", "rate", "95 % interval", "P(best)", "loss", "allocation", "true")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for each in report["variants"]:
        table.add_row(
            each["variant"],
            f"{each['pulls']:,}",
            f"{each['rewards']:,}",
            "-" if each["rate"] is None else f"{each['rate']:.2%}",
            f"{each['ci_low']:.2%} - {each['ci_high']:.2%}",
            f"{each['p_best']:.3f}",
            f"{each['expected_loss']:.3%}",
            f"{each['allocation']:.1%}",
            f"{rates[each['variant']]:.2%}",
        )
    return table


def regret_table(tally: Tally, rates: Mapping[str, float]) -> Table:
    """Compare this run with an even split and with knowing the best variant beforehand."""
    sends, earned = tally.sends.total(), tally.expected(rates)
    best = max(rates, key=lambda variant: rates[variant])
    rows = {
        "this run": earned,
        "an even split": sends * sum(rates.values()) / len(rates),
        f"always {best}, unknowable before": sends * rates[best],
    }
    table = _table(f"What {sends:,} sends are worth at the true rates")
    for name in ("expected visits", "against this run", "regret"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, visits in rows.items():
        difference = f"{visits - earned:+,.0f}" if name != "this run" else ""
        table.add_row(name, f"{visits:,.0f}", difference, f"{sends * rates[best] - visits:,.0f}")
    return table


def _table(title: str) -> Table:
    """Return a table that fits 80 columns; its first column names the row."""
    table = Table(
        title=f"\n{title}", title_justify="left", box=None, pad_edge=False, collapse_padding=True
    )
    table.add_column("", no_wrap=True)
    return table


def addresses(url: str, experiment: str) -> str:
    """List what can be looked at while the service is still running."""
    base = f"{url}/experiments/{experiment}"
    return "\n".join(
        f"  {name:<12} {address}"
        for name, address in {
            "report": f"{base}/report",
            "report.csv": f"{base}/report.csv",
            "decisions": f"{base}/decisions.ndjson",
            "allocation": f"{base}/allocation",
            "metrics": f"{url}/metrics",
            "openapi": f"{url}/openapi.json",
        }.items()
    )
