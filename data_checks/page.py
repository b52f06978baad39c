"""The results page: one HTML file that opens without a network, and the same as results.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from data_checks.judge import by_source
from data_checks.outcome import CheckOutcome, quarantined_rows
from data_checks.record import first_bad_rows, suite_record, worst
from instructue.sources.spec import DatasetSpec, SourceSpec

STYLE = """
:root{--ink:#1d2530;--soft:#64707f;--line:#e3e7ec;--card:#fff;--back:#f5f7f9;--good:#1a7f4b;--warn:#a66a00;--bad:#c0352b;
--goodb:#e5f4ec;--warnb:#fdf2dc;--badb:#fbe7e5}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ee;--soft:#98a3b1;--line:#2d343d;--card:#1a1f26;--back:#12161b;--good:#58c48b;
--warn:#e0ae52;--bad:#f0857b;--goodb:#16301f;--warnb:#352a12;--badb:#3a1d1b}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:15px/1.5 system-ui,"Segoe UI",Roboto,sans-serif}
main{max-width:1040px;margin:0 auto;padding:36px 20px 60px}
h1{font-size:25px;margin:0 0 2px}h2{font-size:18px;margin:0}p{margin:4px 0}.soft{color:var(--soft)}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px 20px;margin:18px 0}
.banner{border-left:6px solid var(--tone);font-size:16px}.banner b{color:var(--tone)}
.passed{--tone:var(--good);--toneb:var(--goodb)}.warned,.quarantined{--tone:var(--warn);--toneb:var(--warnb)}
.failed{--tone:var(--bad);--toneb:var(--badb)}
.chip{display:inline-block;padding:1px 10px;border-radius:99px;background:var(--toneb);color:var(--tone);
font-weight:600;font-size:12.5px;white-space:nowrap}
.wide{overflow-x:auto}table{width:100%;border-collapse:collapse;margin-top:10px}
th{font-weight:600;text-align:left;color:var(--soft);font-size:12.5px}
th,td{padding:6px 12px 6px 0;border-bottom:1px solid var(--line);vertical-align:top}tr:last-child td{border-bottom:0}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}code{font-size:13px}
.head{display:flex;gap:12px;align-items:baseline;flex-wrap:wrap}
summary{cursor:pointer;color:var(--soft);margin-top:12px}a{color:inherit}
"""


@dataclass(frozen=True)
class _Part:
    """One source's share of the page."""

    spec: SourceSpec
    file: str
    tables: Mapping[str, pl.DataFrame]
    outcomes: list[CheckOutcome]

    @property
    def table(self) -> pl.DataFrame:
        return self.tables[self.spec.name]

    @property
    def read(self) -> int:
        return max(o.checked for o in self.outcomes)

    @property
    def record(self) -> dict[str, Any]:
        named = any(len(o.bad) + len(o.noted) for o in self.outcomes)
        return suite_record(self.outcomes, self.table if named else None)

    @property
    def quarantined(self) -> int:
        return len(quarantined_rows(self.outcomes))

    @property
    def verdict(self) -> str:
        return worst(self.outcomes)

    @property
    def sentence(self) -> str:
        held = sum(o.passed for o in self.outcomes)
        words = f"{held} of {len(self.outcomes)} expectations hold on {self.read:,} rows."
        if self.quarantined:
            words += f" {self.quarantined:,} {'row is' if self.quarantined == 1 else 'rows are'} quarantined."
        return words


def write_report(
    folder: Path,
    dataset: DatasetSpec,
    tables: Mapping[str, pl.DataFrame],
    origins: dict[str, Path],
    outcomes: list[CheckOutcome],
) -> None:
    """Write `folder`/index.html and `folder`/results.json."""
    import json

    groups = by_source(outcomes)
    parts = [_Part(s, origins[s.name].name, tables, groups[s.name]) for s in dataset.sources]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(_page(dataset, parts), encoding="utf-8")
    results = {
        "dataset": dataset.name,
        "published": not _stopped(parts),
        "sources": {p.spec.name: {"file": p.file, **p.record} for p in parts},
    }
    (folder / "results.json").write_text(json.dumps(results, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _stopped(parts: list[_Part]) -> bool:
    return any(o.verdict == "failed" for p in parts for o in p.outcomes)


def _page(dataset: DatasetSpec, parts: list[_Part]) -> str:
    body = _banner(parts) + _overview(parts) + "".join(map(_section, parts))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Validation of {escape(dataset.name)}</title><style>{STYLE}</style></head><body><main>"
        f'<h1>Validation</h1><p class="soft">{escape(dataset.title)}</p>{body}</main></body></html>\n'
    )


def _banner(parts: list[_Part]) -> str:
    checks = [o for p in parts for o in p.outcomes]
    failed, warned = [[o for o in checks if o.verdict == v] for v in ("failed", "warned")]
    rows, bad = sum(p.read for p in parts), sum(p.quarantined for p in parts)
    if failed:
        tone, head = "failed", "Stopped: nothing was published."
        tail = f"{len(failed)} of {len(checks)} expectations block; the rows that break them are in quarantine."
    elif bad:
        tone, head = "quarantined", f"Published without {bad:,} bad rows."
        tail = f"{rows - bad:,} of {rows:,} rows are published; the rest is in quarantine with its reasons."
    else:
        tone, head = ("warned", "Published, with warnings.") if warned else ("passed", "Published.")
        tail = f"{sum(o.passed for o in checks)} of {len(checks)} expectations hold on all {rows:,} rows."
    return f'<section class="banner {tone}"><b>{head}</b> {tail}</section>'


def _overview(parts: list[_Part]) -> str:
    heads = ["source", "", "from", "read", "kept", "quarantined", "verdict"]
    rows = []
    for part in parts:
        name, read, bad = part.spec.name, part.read, part.quarantined
        title = f'<span class="soft">{escape(part.spec.title)}</span>'
        words = [f'<a href="#{name}">{name}</a>', title, f"<code>{escape(part.file)}</code>"]
        rows.append([*words, read, read - bad, bad, _chip(part.verdict)])
    return f"<section>{_table(heads, rows)}</section>"


def _section(part: _Part) -> str:
    broken, held = [[o for o in part.outcomes if o.passed is passed] for passed in (False, True)]
    title = f'<span class="soft">{escape(part.spec.title)}, <code>{escape(part.file)}</code></span>'
    out = f'<div class="head"><h2>{part.spec.name}</h2>{_chip(part.verdict)}{title}</div><p>{part.sentence}</p>'
    if broken:
        out += _expectations(broken)
    for outcome in (o for o in broken if o.failed):
        cells = [
            [f"<code>{escape(str(v))}</code>" for v in row.values()] for row in first_bad_rows(outcome, part.table)
        ]
        heads = ["row of the file, from 0", *[h for h in ("user", "time") if h in part.table.columns], "value"]
        shown = f"first {len(cells)} of {outcome.failed:,}" if outcome.failed > len(cells) else f"{outcome.failed:,}"
        summary = f"Rows that break <code>{outcome.name}</code> ({shown})"
        out += f"<details open><summary>{summary}</summary>{_table(heads, cells)}</details>"
    summary = f"{len(held)} expectations that hold"
    out += f"<details{'' if broken else ' open'}><summary>{summary}</summary>{_expectations(held)}</details>"
    return f'<section id="{part.spec.name}">{out}</section>'


def _expectations(outcomes: list[CheckOutcome]) -> str:
    rows = [
        [
            _chip(o.verdict),
            escape(o.sentence),
            f"<code>{escape(o.observed)}</code>",
            o.failed or "",
            f'<code class="soft">{o.name}</code>',
        ]
        for o in outcomes
    ]
    return _table(["", "expectation", "found", "bad rows", "rule"], rows)


def _chip(verdict: str) -> str:
    return f'<span class="chip {verdict}">{verdict}</span>'


def _table(heads: list[str], rows: list[list[Any]]) -> str:
    """Cells are HTML; whole numbers are set to the right."""

    def cell(value: Any) -> str:
        return f'<td class="n">{value:,}</td>' if isinstance(value, int) else f"<td>{value}</td>"

    numeric = [bool(rows) and isinstance(rows[0][i], int) for i in range(len(heads))]
    head = "".join(f'<th class="n">{h}</th>' if n else f"<th>{h}</th>" for h, n in zip(heads, numeric, strict=True))
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'
