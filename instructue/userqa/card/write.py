"""The data card of UserQA: one version's figures as JSON for programs, Markdown for a review, a page for people.

The page is one file that opens with no network: its style and plots are inside.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from instructue.files import replacing, write_json
from instructue.sources.spec import FactSpec
from instructue.sources.tables import Tables
from instructue.userqa.card.beside import beside
from instructue.userqa.card.figures import FEWEST, figures
from instructue.userqa.card.headlines import headlines
from instructue.userqa.card.plots import bars_svg, histogram_svg, kinds_svg
from instructue.userqa.card.versions import difference, hashes, remember, version_of
from instructue.userqa.schema import INSTRUCTION, SHARE_OF_YES
from instructue.userqa.wording import Wordings


@dataclass(frozen=True)
class Card:
    """Where the card lies, and what of it a stage's report shows: plain values."""

    links: dict[str, str]
    metrics: dict[str, float] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def write_card(
    triplets: pl.DataFrame,
    facts: Sequence[FactSpec],
    wordings: Wordings,
    rejections: pl.DataFrame,
    metrics: Mapping[str, float],
    tables: Tables,
    stem: Path,
    archive: Path,
    seed: int,
) -> Card:
    """Write STEM.html, STEM.md and STEM.json, each whole or not at all, and put this version into `archive`.

    facts: the kinds asked. rejections: columns of schema.REJECTION_COLUMNS. metrics: the stage's, of which
    completions, completion_tokens and {instructions,answers}_{asked,accepted} are told in words if they are there.

    The same arguments beside the same previous version give the same bytes. Raises LeakageError, before anything is
    written, if a history shown reaches its snapshot; DataError if an entry of `archive` cannot be read.
    """
    said = figures(triplets, wordings, rejections, metrics, tables)
    version, found = version_of(triplets), hashes(triplets)
    changed = difference(archive, version, said, found)
    card = {"version": version, **said, "difference": changed, "samples": beside(triplets, facts, tables, seed)}
    pages = {".md": render("card.md.j2", card), ".html": render("card.html.j2", card)}
    remember(archive, version, said, found)
    write_json(stem.with_name(stem.name + ".json"), card)
    for suffix, page in pages.items():
        with replacing(stem.with_name(stem.name + suffix)) as temporary:
            temporary.write_text(page, encoding="utf-8")
    return Card(
        {suffix: str(stem.with_name(f"{stem.name}.{suffix}")) for suffix in ("html", "md", "json")},
        _metrics(card),
        _tables(card),
    )


def render(template: str, card: dict[str, Any]) -> str:
    """Fill one of the templates beside this file; what users or models wrote is escaped in both."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    page = template.endswith(".html.j2")
    environment = Environment(
        loader=PackageLoader("instructue.userqa.card", "."),
        autoescape=page,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": _cell, "percent": _percent, "figure": _figure, "dictvalues": _values}
    view = {"card": card, "headlines": headlines(card), "band": SHARE_OF_YES, "fewest": FEWEST}
    return environment.get_template(template).render(view | (_drawn(card) if page else {})).rstrip() + "\n"


def _drawn(card: dict[str, Any]) -> dict[str, Any]:
    """The page's plots as SVG."""
    forms = list(dict.fromkeys(form for k in card["kinds"] for form in k["wordings"]))
    colours = [f"s{place}" for place in range(len(forms))]
    worded = [
        (k["kind"], [k["wordings"].get(form, 0) for form in forms], " + ".join(map(str, k["wordings"].values())))
        for k in card["kinds"]
    ]
    crowd = [k for k in card["kinds"] if k["top_share"] is not None]
    crowd.sort(key=lambda k: -k["top_share"])
    counted = {
        name: bars_svg(
            [(r[name], [r["triplets"]], f"{r['triplets']:,}") for r in card[f"{name}s"]],
            f"Triplets by {name}",
            names=130,
            width=500,
        )
        for name in ("source", "snapshot")
    }
    return {
        "forms": forms,
        "plots": {
            "kinds": kinds_svg(card["kinds"]),
            "wordings": bars_svg(worded, "Wordings by kind and form", colours),
            "crowding": bars_svg(
                [(k["kind"], [k["top_share"]], f"{k['top_share']:.1%}, {_short(k['top'])}") for k in crowd],
                "Share of each kind's most frequent value", ["s3"],
            ),
            "reasons": bars_svg(
                [(r["reason"], [r["rejected"]], f"{r['rejected']:,}") for r in card["acceptance"]["reasons"]],
                "Refused texts by reason", ["s1"],
            ),
            "users": histogram_svg(card["users"]["histogram"], "Users by their triplets", "triplets of a user", "s2"),
            **{t: histogram_svg(card["lengths"][t]["histogram"], f"Words per {t}", f"words per {t}")
               for t in ("instruction", "answer")},
            **counted,
        },
    }  # fmt: skip


def _metrics(card: dict[str, Any]) -> dict[str, float]:
    shares = [k["yes"] for k in card["kinds"] if k["yes"] is not None]
    found = {
        "kinds": len(card["kinds"]),
        "users_covered": card["users"]["covered"],
        "share_of_yes_least": min(shares, default=None),
        "share_of_yes_most": max(shares, default=None),
        "instruction_wordings_least": min((k["wordings"].get(INSTRUCTION, 0) for k in card["kinds"]), default=None),
        **{name: (card["cost"] or {}).get(name) for name in ("completions_per_1000", "tokens_per_1000")},
        "same_as_previous": (card["difference"] or {}).get("same"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _tables(card: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    columns = ("kind", "source", "about", "triplets", "users", "yes", "asked_in")
    kinds = [
        {c: k[c] for c in columns} | {f"{form}_wordings": n for form, n in k["wordings"].items()} for k in card["kinds"]
    ]
    shown = ("kind", "snapshot", "instruction", "answer", "opposite", "instruction_by")
    tables = {
        "kinds": kinds,
        "rejected": card["acceptance"]["reasons"],
        "sample": [{name: sample[name] for name in shown} for sample in card["samples"][:8]],
    }
    return tables | ({"since_previous": card["difference"]["totals"]} if card["difference"] else {})


def _short(text: str | None, most: int = 22) -> str:
    text = text or ""
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _cell(text: Any) -> str:
    """Text for Markdown, on one line, with nothing in it read as mark-up."""
    flat = " ".join(str(text).split())
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", flat)


def _percent(share: float | None) -> str:
    if share is None:
        return ""
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"


def _figure(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,.0f}" if isinstance(value, int | float) else str(value)


def _values(row: dict[str, Any]) -> list[Any]:
    return list(row.values())
