"""`python -m benchmarks.report RUN.json [--update benchmarks/README.md]`: the results table, from a run's figures."""

import argparse
from pathlib import Path

from benchmarks.measure import Results, Row

_BEGIN, _END = "<!-- benchmarks -->", "<!-- /benchmarks -->"
_STAGES = {"step": "denoiser step", "decode": "decode", "command": "whole command"}


def _cell(results: Results, row: Row | None) -> str:
    if row is None:
        return ""
    ratio = results.ratio(row)
    times = f"{row.median_s:.2f} s" if row.median_s < 100 else f"{row.median_s:.0f} s"
    memory = f", {row.more['peak_memory_mb'] / 1000:.2f} GB" if "peak_memory_mb" in row.more else ""
    return times + (f", {ratio:.1f}x" if ratio is not None and row.engine != "pytorch-reference" else "") + memory


def table(results: Results) -> str:
    """A table: a line an engine, precision and stage, a column a length."""
    lengths = sorted({row.seconds for row in results.rows if row.stage in _STAGES})
    rows = {(row.stage, row.engine, row.precision, row.seconds): row for row in results.rows}
    lines = [
        "| stage | engine | precision | " + " | ".join(f"{length:g} s" for length in lengths) + " |",
        "|---|---|---|" + "---|" * len(lengths),
    ]
    for stage, label in _STAGES.items():
        kinds = dict.fromkeys((row.engine, row.precision) for row in results.rows if row.stage == stage)
        for engine, precision in sorted(kinds, key=lambda kind: (not kind[0].startswith("pytorch"), kind[0])):
            cells = [_cell(results, rows.get((stage, engine, precision, length))) for length in lengths]
            lines.append(f"| {label} | {engine} | {precision} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def roofline(results: Results) -> str:
    """How near the longest measured step comes to the machine's peak, each engine and precision."""
    reached = [row for row in results.rows if row.stage == "step" and "percent_of_fp32_peak" in row.more]
    longest = max((row.seconds for row in reached), default=0)
    shares = ", ".join(
        f"{row.engine} {row.precision} {row.more['percent_of_fp32_peak']:.0f} %"
        for row in reached
        if row.seconds == longest
    )
    return f"Of that peak a denoiser step at {longest:g} s reaches: {shares}. " if shares else ""


def report(results: Results, source: str) -> str:
    """The table and what it depends on."""
    machine = results.about["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    peak = next((row.more["gflops"] for row in results.rows if row.stage == "gemm"), None)
    bundles = ", ".join(f"{name} {about['id'][:12]}" for name, about in results.about.get("bundles", {}).items())
    said = (
        f"{machine['processor']}, {results.about['threads']} threads"
        + (f", fp32 products at {peak:.0f} GFLOP/s" if peak else "")
        + f"; {results.about['date'][:10]}; {versions}; bundles {bundles}. "
        f"Made by `python -m benchmarks.report {source}`. `x`: times as fast as PyTorch eager doing the reference's "
        "work (`pytorch-reference`) in the same run. Whole commands are single runs; their memory is the peak of a "
        "fresh process. "
    )
    return f"{table(results)}\n\n{said}{roofline(results)}".rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="JSON file of a run")
    parser.add_argument("--update", type=Path, help="a text file with the table's markers, which is rewritten")
    arguments = parser.parse_args()
    made = report(Results.load(arguments.run), str(arguments.run))
    if arguments.update is None:
        print(made)
        return
    text = arguments.update.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, found, after = rest.partition(_END)
    if not found:
        parser.error(f"{arguments.update} lacks the lines {_BEGIN} and {_END}")
    arguments.update.write_text(f"{before}{_BEGIN}\n{made}\n{_END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
