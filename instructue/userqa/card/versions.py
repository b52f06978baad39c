"""Earlier versions of UserQA, and what changed since: a small JSON and 64-bit hashes of the triplets for each."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from instructue.errors import DataError
from instructue.files import replacing, write_json

KEPT = 20  # versions per data set
LAYOUT = 1  # of an archive's entry; entries of another are passed over
LENGTH = 16  # characters of a version's name
TRIPLET = ("user", "snapshot", "kind", "instruction", "answer")  # two triplets with these equal are the same
FACT = ("user", "snapshot", "kind", "value")  # the same fact, however worded


def version_of(triplets: pl.DataFrame) -> str:
    """Name of a version: a hash of everything in the table."""
    return hashlib.sha256(triplets.write_csv().encode()).hexdigest()[:LENGTH]


def hashes(triplets: pl.DataFrame) -> np.ndarray:
    """uint64 [2, n]: a hash of each triplet and of each fact. Polars' own hashes change from release to release."""
    moment = pl.col("snapshot").dt.strftime("%Y-%m-%dT%H:%M:%S")
    table = triplets.with_columns(moment.alias("snapshot"), pl.col("user").cast(pl.String))
    sides = []
    for columns in (TRIPLET, FACT):
        lines = table.select(t=pl.concat_str(pl.col(columns).fill_null("\0"), separator="\x1f"))["t"].to_list()
        digests = b"".join(hashlib.blake2b(line.encode(), digest_size=8).digest() for line in lines)
        sides.append(np.frombuffer(digests, "<u8"))
    return np.stack(sides)


def remember(archive: Path, version: str, figures: dict[str, Any], found: np.ndarray) -> None:
    """Write ARCHIVE/VERSION.npy, then VERSION.json, which makes it whole; drop all but the newest of the data set.

    A version that is the newest already keeps its place.
    """
    known = _known(archive, figures["dataset"]["name"])
    number = max((entry["number"] for name, entry in known.items() if name != version), default=0) + 1
    with replacing(archive / f"{version}.npy") as temporary, temporary.open("wb") as file:
        np.save(file, found)
    write_json(archive / f"{version}.json", {"layout": LAYOUT, "number": number, "figures": figures})
    others = sorted((name for name in known if name != version), key=lambda name: known[name]["number"])
    for name in others[: max(0, len(others) + 1 - KEPT)]:
        for suffix in (".json", ".npy"):
            (archive / (name + suffix)).unlink(missing_ok=True)


def difference(archive: Path, version: str, figures: dict[str, Any], found: np.ndarray) -> dict[str, Any] | None:
    """What changed since the newest other version of the same data set; None if there is none.

    same: share of this version's triplets that the other has word for word; same_facts: share that asks about
    the same fact in whatever words.
    """
    others = {n: e for n, e in _known(archive, figures["dataset"]["name"]).items() if n != version}
    if not others:
        return None
    name = max(others, key=lambda n: others[n]["number"])
    before, earlier = others[name]["figures"], np.load(archive / f"{name}.npy")
    shares = [float(np.isin(now, then).mean()) if now.size else 0.0 for now, then in zip(found, earlier, strict=True)]
    old, new = ({k["kind"]: k for k in f["kinds"]} for f in (before, figures))
    return {
        "previous": name,
        "same": round(shares[0], 4),
        "same_facts": round(shares[1], 4),
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "totals": _totals(before, figures),
        "kinds": [change for kind in new if kind in old for change in _changes(old[kind], new[kind])],
    }


def _totals(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    def of(figures: dict[str, Any]) -> dict[str, Any]:
        return {
            "triplets": figures["triplets"],
            "kinds": len(figures["kinds"]),
            "wordings": sum(sum(k["wordings"].values()) for k in figures["kinds"]),
            "users": figures["users"]["covered"],
            "histories": figures["users"]["histories"],
            "rejected": figures["acceptance"]["rejected"],
            "words of an instruction, median": figures["lengths"]["instruction"]["median"],
            "words of an answer, median": figures["lengths"]["answer"]["median"],
        }

    then, now = of(before), of(after)
    return [{"what": what, "before": then[what], "after": now[what]} for what in now]


def _changes(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    """What differs in one kind: its count, its share of yes by a point or more, its wordings."""
    rows = []
    counts = [sum(side["wordings"].values()) for side in (before, after)]
    for what, then, now in (
        ("triplets", before["triplets"], after["triplets"]),
        ("share of yes", before["yes"], after["yes"]),
        ("wordings", *counts),
    ):
        moved = then != now if None in (then, now) or what != "share of yes" else abs(then - now) >= 0.01
        if moved:
            rows.append({"kind": after["kind"], "what": what, "before": then, "after": now})
    return rows


def _known(archive: Path, dataset: str) -> dict[str, dict[str, Any]]:
    """The versions of a data set by name. Raises DataError naming a file that cannot be read."""
    found = {}
    for path in sorted(archive.glob("*.json")):
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            ours = entry["layout"] == LAYOUT and entry["figures"]["dataset"]["name"] == dataset
            if ours and path.with_suffix(".npy").is_file():
                found[path.stem] = entry
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is no figures of a UserQA version ({error}); delete it and run again") from error
    return found
