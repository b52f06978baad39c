"""The figures of a data set in the terminal and as one self-contained page."""

from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

from instructue.files import replacing
from instructue.paths import Paths
from instructue.sources.describe.figures import SHARES, Figures, SourceFigures, describe
from instructue.sources.readers import data_folder
from instructue.sources.spec import load_dataset

MOST_MONTHS = 36  # rows of a table in the terminal; the page shows all
HEADS = [f"{share:.0%}" if share < 1 else "most" for share in SHARES]


def show_dataset(name_or_path: str, paths: Paths, folder: str | None = None) -> Path:
    """Describe a data set in the terminal and in reports/describe-NAME.html; gives the page's path.

    `folder` stands in for the described one. Raises ConfigError and DataError as load_dataset and Reader.
    """
    dataset = load_dataset(name_or_path)
    figures = describe(dataset, data_folder(dataset, folder))
    print_figures(figures)
    page = paths.reports / f"describe-{dataset.name}.html"
    write_page(figures, page)
    return page


def print_figures(figures: Figures) -> None:
    """Tables: sources, events per month, missing values, texts, lengths of histories."""
    from rich.console import Console
    from rich.table import Table

    console = Console()

    def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> None:
        drawn = Table(title=title, title_justify="left", show_edge=False)
        for place, head in enumerate(heads):
            drawn.add_column(head, justify="left" if place < texts else "right", overflow="fold")
        for row in rows:
            drawn.add_row(*[str(cell).replace("[", r"\[") for cell in row])
        console.print(drawn, "")

    console.print(f"{figures.title}: {figures.users:,} users, {figures.events:,} events\n", markup=False)
    table("Sources", SOURCE_HEADS, [_source_row(s) for s in figures.sources])
    rows = month_rows(figures)
    by = "month" if len(rows) <= MOST_MONTHS else "year"
    table(f"Events per {by}", [by, *_names(figures)], rows if by == "month" else month_rows(figures, letters=4))
    table("Missing values", ["source", "column", "missing"], missing_rows(figures), 2)
    table("Numbers", ["source", "column", "least", "median", "largest"], number_rows(figures), 2)
    table("Most frequent texts", ["source", "text", "rows"], text_rows(figures), 2)
    table("Events per user", ["source", *HEADS], length_rows(figures))


SOURCE_HEADS = ["source", "rows", "users", "texts", "first", "last", "outside start and end"]


def _names(figures: Figures) -> list[str]:
    return [s.name for s in figures.sources if s.kind == "events"]


def _source_row(s: SourceFigures) -> list[str]:
    outside = f"{s.outside:,}" if s.kind == "events" else ""
    return [s.name, f"{s.rows:,}", f"{s.users:,}", f"{s.distinct_texts:,}", s.first or "", s.last or "", outside]


def month_rows(figures: Figures, letters: int = 7) -> list[list[str]]:
    """One row per month, or per year if only 4 letters of it count; a column per event source."""
    sources: list[Counter[str]] = [Counter() for s in figures.sources if s.kind == "events"]
    for counted, source in zip(sources, (s for s in figures.sources if s.kind == "events"), strict=True):
        for month, events in source.months:
            counted[month[:letters]] += events
    months = sorted({month for s in sources for month in s})
    return [[month, *(f"{s[month]:,}" for s in sources)] for month in months]


def missing_rows(figures: Figures) -> list[list[str]]:
    """Source, column and share, of the columns that lack anything."""
    return [
        [s.name, column, "under 0.1%" if share < 0.001 else f"{share:.1%}"]
        for s in figures.sources
        for column, share in s.missing.items()
        if share
    ]


def number_rows(figures: Figures) -> list[list[str]]:
    """Source, column, least, median and largest value."""
    return [[s.name, name, *(f"{v:,.6g}" for v in found)] for s in figures.sources for name, found in s.numbers.items()]


def text_rows(figures: Figures) -> list[list[str]]:
    """Source, text and rows of the most frequent texts."""
    return [[s.name, text, f"{n:,}"] for s in figures.sources for text, n in s.texts]


def length_rows(figures: Figures) -> list[list[str]]:
    """Quantiles of events per user, all sources together first."""
    rows = [["all together", *(f"{v:,.0f}" for v in figures.lengths)]]
    return rows + [[s.name, *(f"{v:,.0f}" for v in s.lengths)] for s in figures.sources if s.kind == "events"]


def write_page(figures: Figures, page: Path) -> None:
    """The page: one HTML file that needs nothing else."""
    import jinja2

    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    tables = [
        ("Missing values", ["source", "column", "missing"], missing_rows(figures), 2),
        ("Numbers", ["source", "column", "least", "median", "largest"], number_rows(figures), 2),
        ("Most frequent texts", ["source", "text", "rows"], text_rows(figures), 2),
    ]
    html = environment.get_template("page.html.j2").render(
        figures=figures,
        sources=(SOURCE_HEADS, [_source_row(s) for s in figures.sources]),
        lengths=(["source", *HEADS], length_rows(figures)),
        months=[(s, columns_svg(s.months, f"Events per month of {s.name}")) for s in figures.sources if s.months],
        histogram=columns_svg(
            [(f"{low}" if low == high else f"{low}-{high}", n) for low, high, n in figures.histogram],
            "Users by the number of their events",
        ),
        tables=tables,
    )
    with replacing(page) as temporary:
        temporary.write_text(html, encoding="utf-8")


def columns_svg(counts: Sequence[tuple[str, int]], alt: str, wide: int = 720, high: int = 150) -> str:
    """Columns over names, as inline SVG in the page's colours; every so many names are written below."""
    if not counts:
        return ""
    step, most, base = (wide - 20) / max(len(counts), 6), max(n for _, n in counts) or 1, high - 24
    named = -(-len(counts) // 9)
    parts = [f'<path d="M10 {base}H{wide - 10}" stroke="var(--grid)"/>']
    for place, (name, many) in enumerate(counts):
        tall, x = (base - 20) * many / most, 10 + step * place
        label = escape(f"{name}: {many:,}")
        parts.append(
            f'<rect x="{x + 1:.1f}" y="{base - tall:.1f}" width="{max(step - 2, 0.6):.1f}" height="{tall:.1f}" '
            f'rx="1.5" fill="var(--s0)"><title>{label}</title></rect>'
        )
        if place % named == 0:
            parts.append(
                f'<text x="{x + step / 2:.1f}" y="{base + 15}" text-anchor="middle" fill="var(--muted)">'
                f"{escape(name)}</text>"
            )
    parts.append(f'<text x="10" y="13" fill="var(--muted)">most: {most:,}</text>')
    head = f'<svg role="img" aria-label="{escape(alt, quote=True)}" viewBox="0 0 {wide} {high}" width="{wide}">'
    return head + "".join(parts) + "</svg>"
