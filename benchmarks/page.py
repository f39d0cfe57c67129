"""
Runs every benchmark and writes docs/benchmarks.md and its plot: ``make bench``. ``--again``: the
page alone, of the numbers of the last time (benchmarks/.numbers/).
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys

import matplotlib
import salt.version

matplotlib.use("svg")
# Letters as letters: a tenth of the size, and they can be searched.
matplotlib.rcParams["svg.fonttype"] = "none"
from matplotlib import pyplot  # noqa: E402 after the kind of picture is chosen

ROOT = pathlib.Path(__file__).resolve().parents[1]
NUMBERS = ROOT / "benchmarks/.numbers"
TEMPLATE = ROOT / "benchmarks/page.md"
PAGE, PLOT = ROOT / "docs/benchmarks.md", ROOT / "docs/pictures/benchmarks.svg"
SCRIPTS = ("git_rebase", "elb_swap", "dns_swap", "night")
# Read by people who see no difference between red and green, too.
OWN, WAITS = "#0b6e99", "#c9d6df"


def numbers(name):
    """What a benchmark has written."""
    return json.loads((NUMBERS / f"{name}.json").read_text())


def measure():
    """Run every benchmark."""
    NUMBERS.mkdir(exist_ok=True)
    for name in SCRIPTS:
        print(f"== {name}", flush=True)
        command = [
            sys.executable,
            ROOT / f"benchmarks/{name}.py",
            "--json",
            NUMBERS / f"{name}.json",
        ]
        subprocess.run(command, check=True)


def against():
    """``(what, alternative, ratio, words)`` of every comparison."""
    for name, row in numbers("git_rebase").items():
        ratios = row["ratios"]
        yield f"rebase, {name}", "the runbook's commands", ratios["rebase"], "x as fast"
        yield f"rebase and report, {name}", "the runbook's commands", ratios["whole"], "x as fast"
        native = 1 / ratios["of native"]
        yield f"rebase, {name}", "git rebase, same worktree", native, "x as fast"
    for row in numbers("elb_swap")["rows"]:
        if row["what"] == "swap" and row["salt"]:
            what = f"ELB swap, {row['instances']} for as many"
            yield what, "boto_ec2, boto_elb", row["ratio"], "x fewer calls"
    for row in numbers("dns_swap")["rows"]:
        if row["swap"] == "on" and row["salt"]:
            what = f"DNS swap, {row['names']} names"
            yield what, "boto3_route53", row["ratio"], "x fewer calls"


def by_size(key, name, cell):
    """A table: a line for each ``name``, a column for each size."""
    found = {}
    for row in numbers("night")["rows"]:
        for one in row[key]:
            found.setdefault(one[name], []).append(cell(one))
    return "\n".join(f"| {what} | {' | '.join(cells)} |" for what, cells in found.items())


def plot():
    """Two charts: the ratios, and the window by phase."""
    rows, night = list(against()), numbers("night")["rows"]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 0.35 * len(rows) + 1.5))
    labels = [f"{what}\nbeside {other}" for what, other, *_ in rows]
    bars = left.barh(labels, [ratio for *_, ratio, _ in rows], color=OWN)
    left.bar_label(
        bars, [f"{ratio:.1f}{words}" for *_, ratio, words in rows], padding=3, fontsize=6
    )
    left.set_xscale("log")
    left.margins(x=0.35)
    left.axvline(1, color="black", linewidth=0.8)
    left.invert_yaxis()
    left.tick_params(labelsize=6)
    left.set_title("against the alternative", fontsize=9)
    for at, row in enumerate(night):
        places = [number + 0.4 * at for number in range(len(row["window"]))]
        own = [one["own"] for one in row["window"]]
        waits = [one["seconds"] - one["own"] for one in row["window"]]
        shade = 1 - 0.4 * at
        right.bar(places, own, 0.36, color=OWN, alpha=shade, label=f"{row['size']}: its own")
        right.bar(places, waits, 0.36, own, color=WAITS, alpha=shade, label=f"{row['size']}: waits")
    right.set_xticks(range(len(night[0]["window"])), [one["phase"] for one in night[0]["window"]])
    right.tick_params(labelsize=7)
    right.set_ylabel("seconds", fontsize=7)
    right.legend(fontsize=6)
    right.set_title("the window, by phase", fontsize=9)
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None})


def page():
    """The whole page."""
    night = numbers("night")["rows"]
    calls = {row["ours"]["calls"] for row in numbers("elb_swap")["rows"] if row["what"] == "swap"}
    return TEMPLATE.read_text(encoding="utf-8").format(
        today=datetime.date.today(),
        cores=os.cpu_count(),
        python=platform.python_version(),
        salt=salt.version.__version__,
        against="\n".join(
            f"| {what} | {other} | {ratio:.1f}{words} |" for what, other, ratio, words in against()
        ),
        sizes=" | ".join(row["size"] for row in night),
        rule="|".join("---" for _ in night),
        window=by_size(
            "window", "phase", lambda one: f"{one['seconds']} s, its own {one['own']} s"
        ),
        commands=by_size("commands", "command", lambda one: f"{one['ratio']}x"),
        calls=" or ".join(map(str, sorted(calls))),
    )


def main():
    """Measure unless told otherwise, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true")
    if not parser.parse_args().again:
        measure()
    PLOT.parent.mkdir(exist_ok=True)
    plot()
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
