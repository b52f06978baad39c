"""Reading and sorting many events against the least that this can cost, and against pandas.

    python benchmarks/ingest.py [--events 1000000 10000000] [--folder FOLDER] [--partition-rows 5000000]

Makes worlds of the made-up super-app and runs on each, one process after the other:

- floor: DuckDB reads each source's files, sorts them by user and time and writes them, compressed as ours;
- ours: the stage `sources` with an empty cache, and the as-of histories and their leak checks. Their vectors of event
  texts are left out: they cost by distinct text, not by event. Without --validation all that was staged is published;
- once more, with one more file per source; only that file should be read;
- pandas, where it can hold them: read, put into words, number, sort, write, and count per snapshot.

Expects ours within 3 times the floor, under 6 GiB, and the same time per event at any size. The last line is one JSON
object, about the last number of events: vs_floor = (sources + histories) / floor; peak_gib of the largest process.
"""

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EVENTS_PER_USER = 885
FILES = 20  # per source, if there are so many blocks of users
Job = tuple[str, Path, Path, int]  # what, the world, the project, data.partition_rows


def peak_gib() -> float:
    """The most memory that this process had; of its own, where a child's resource usage starts with its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line) / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def generate(world: Path, project: Path, _: int) -> dict[str, float]:
    from instructue.superapp.world import BLOCK
    from instructue.superapp.write import Wish
    from instructue.superapp.write import generate as write

    users = int(project.name)
    per_file = max(1, users // FILES // BLOCK) * BLOCK
    return {"events": sum(write(Wish(users, users_per_file=per_file), world, os.cpu_count() or 1).values())}


def floor(world: Path, project: Path, _: int) -> dict[str, float]:
    """Scan, sort, write: all columns as they are."""
    import duckdb

    project.mkdir(parents=True, exist_ok=True)
    config = {"memory_limit": "4GB", "temp_directory": str(project / "spill"), "preserve_insertion_order": False}
    with duckdb.connect(config=config) as db:
        for source in _spec(world).event_sources:
            files = _spec(world).table(source.file).file
            db.execute(
                f"copy (from read_parquet('{world / str(files)}') order by user_id, time) "
                f"to '{project / source.name}.parquet' (format parquet, compression zstd)"
            )
    return {}


def sources(world: Path, project: Path, rows: int) -> dict[str, float]:
    from instructue.paths import Paths
    from instructue.sources.ingest import stage_sources

    kept = Paths(project).ingested("superapp")
    before = set(kept.glob("*"))
    stage_sources(_config(world, rows), Paths(project))
    return {"pieces_made": len(set(kept.glob("*")) - before)}


def validation(world: Path, project: Path, rows: int) -> dict[str, float]:
    from instructue.paths import Paths
    from instructue.sources.publish import validate_and_publish

    validate_and_publish(_config(world, rows), Paths(project))
    return {}


def histories(world: Path, project: Path, rows: int) -> dict[str, float]:
    from instructue.paths import Paths
    from instructue.sources.ingest import as_of_histories, write_table

    paths = Paths(project)
    if not paths.sources.is_dir():
        shutil.copytree(paths.staged, paths.sources, copy_function=os.link)
    table = as_of_histories(_config(world, rows), paths)
    write_table(table, paths.histories / "histories.parquet")
    return {"histories": table.height}


def pandas(world: Path, project: Path, rows: int) -> dict[str, float]:
    """As one would write it without this project, a source at a time."""
    import re

    import pandas as pd

    from instructue.sources.snapshots import plan_snapshots

    dataset, config = _spec(world), _config(world, rows)
    snapshots = plan_snapshots(config.histories, dataset.timezone)
    project.mkdir(parents=True, exist_ok=True)
    counted = []
    for source in dataset.event_sources:
        files = sorted(world.glob(str(dataset.table(source.file).file)))
        table = pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)
        table["time"] = table["time"].dt.tz_localize(dataset.timezone)
        text = pd.Series("", index=table.index)
        for between, name in re.findall(r"([^{}]*)\{(\w+)\}", source.text):
            text = text + between + table[name].astype(str)
        table["text_id"] = pd.factorize(text, sort=True)[0]
        table = table.drop(columns=source.attributes).sort_values(["user_id", "time"], ignore_index=True)
        table.to_parquet(project / f"{source.name}.parquet", compression="zstd")
        for snapshot in snapshots:
            counted.append(table[table["time"] < snapshot.at].groupby("user_id").size())
            counted.append(table[table["time"] < snapshot.horizon_end].groupby("user_id").size())
    pd.concat(counted, axis=1).to_parquet(project / "histories.parquet")
    return {}


def grow(world: Path, project: Path, _: int) -> dict[str, float]:
    """One more file per source, with the rows of the last; its bytes are others."""
    import pyarrow.parquet as pq

    for source in _spec(world).event_sources:
        last = max(world.glob(str(_spec(world).table(source.file).file)))
        pq.write_table(pq.read_table(last), last.with_name("part-99999.parquet"), compression="snappy")
    return {}


CHILDREN = {f.__name__: f for f in (generate, floor, sources, validation, histories, grow, pandas)}


def _spec(world: Path):  # noqa: ANN202
    from instructue.sources.spec import load_dataset

    return load_dataset(str(world / "superapp.yaml"))


def _config(world: Path, rows: int):  # noqa: ANN202
    import yaml

    from instructue.config import parse_config

    raw = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    raw["data"] |= {"dataset": "superapp", "described_in": str(world)}
    raw["data"] |= {"partition_rows": rows} if rows >= 0 else {}
    return parse_config(raw, "params.yaml")


def child(what: str, world: Path, project: Path, rows: int) -> dict[str, float]:
    """Run one part in a process of its own: seconds without its start, peak_gib, and what it says."""
    words = [sys.executable, str(Path(__file__).resolve()), "--child", what, str(world), str(project), str(rows)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False, env=env)
    if done.returncode:
        raise SystemExit(f"{what} failed")
    return json.loads(done.stdout.splitlines()[-1])


def measure(events: int, rows: int, pandas_to: int, folder: Path, validate: bool = False) -> dict[str, float]:
    """All figures of one size; its files are removed."""
    world, project = folder / "world", folder / "project"
    made = child("generate", world, folder / str(-(-events // EVENTS_PER_USER)), rows)
    size = sum(path.stat().st_size for path in world.rglob("*.parquet")) / 2**30
    least = child("floor", world, folder / "floor", rows)
    shutil.rmtree(folder / "floor")
    read = child("sources", world, project, rows)
    checked = child("validation", world, project, rows) if validate else None
    asof = child("histories", world, project, rows)
    child("grow", world, project, rows)
    again = child("sources", world, project, rows)
    for path in world.glob("*/part-99999.parquet"):
        path.unlink()
    shutil.rmtree(project)
    ours = read["seconds"] + asof["seconds"]
    found = {
        "events": int(made["events"]),
        "vs_floor": ours / least["seconds"],
        "peak_gib": max(read["peak_gib"], asof["peak_gib"]),
        "events_per_s": made["events"] / ours,
        "generator_events_per_s": made["events"] / made["seconds"],
        "raw_gib": size,
        "floor_s": least["seconds"],
        "floor_peak_gib": least["peak_gib"],
        "sources_s": read["seconds"],
        "histories_s": asof["seconds"],
        "again_s": again["seconds"],
        "cpu_vs_floor": (read["cpu_s"] + asof["cpu_s"]) / least["cpu_s"],
        "pieces_made": int(read["pieces_made"]),
        "pieces_made_again": int(again["pieces_made"]),
    }
    if checked:
        found |= {"validation_s": checked["seconds"], "validation_peak_gib": checked["peak_gib"]}
    if events <= pandas_to:
        plain = child("pandas", world, folder / "pandas", rows)
        found |= {"pandas_s": plain["seconds"], "pandas_peak_gib": plain["peak_gib"]}
        found |= {"vs_pandas": ours / plain["seconds"]}
        shutil.rmtree(folder / "pandas")
    shutil.rmtree(world)
    return found


def show(found: dict[str, float]) -> None:
    """One size's figures for people."""
    millions, ours = found["events"] / 1e6, found["sources_s"] + found["histories_s"]
    print(f"{found['events']:,} events, {found['raw_gib']:.2f} GiB of files")
    print(f"  generator: {found['generator_events_per_s']:,.0f} events a second")
    print(f"  floor (DuckDB: scan, sort, write): {found['floor_s']:.1f} s, {found['floor_peak_gib']:.2f} GiB")
    print(f"  sources: {found['sources_s']:.1f} s, as-of histories: {found['histories_s']:.1f} s; together "
          f"{found['vs_floor']:.2f} x the floor ({found['cpu_vs_floor']:.2f} x its CPU time), "
          f"{ours / millions:.2f} s a million events, {found['peak_gib']:.2f} GiB")  # fmt: skip
    print(f"  sources with one more file each: {found['again_s']:.1f} s; pieces made: "
          f"{found['pieces_made_again']} in place of {found['pieces_made']}")  # fmt: skip
    if "validation_s" in found:
        print(f"  validation: {found['validation_s']:.1f} s, {found['validation_peak_gib']:.2f} GiB")
    if "pandas_s" in found:
        print(f"  pandas: {found['pandas_s']:.1f} s, {found['pandas_peak_gib']:.2f} GiB; "
              f"ours takes {found['vs_pandas']:.2f} x its time")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--folder", type=Path, help="where the files lie meanwhile; some 100 bytes an event are needed")
    parser.add_argument("--partition-rows", type=int, default=-1, help="data.partition_rows; -1 takes params.yaml's")
    parser.add_argument("--pandas-to", type=int, default=10_000_000, help="the most events that pandas is given")
    parser.add_argument("--validation", action="store_true", help="validate too, beside the ratios")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, world, project, rows = options.child
        for module in ("pandas" if what == "pandas" else "polars", "duckdb", "instructue.sources.ingest"):
            importlib.import_module(module)
        started, used = time.perf_counter(), time.process_time()
        found = CHILDREN[what](Path(world), Path(project), int(rows))
        took = {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - used}
        print(json.dumps(took | {"peak_gib": peak_gib()} | found))
        return
    for events in options.events:
        with tempfile.TemporaryDirectory(prefix="ingest-", dir=options.folder) as scratch:
            found = measure(events, options.partition_rows, options.pandas_to, Path(scratch), options.validation)
        show(found)
    print(json.dumps({k: v if isinstance(v, int) else round(v, 3) for k, v in found.items()}))


if __name__ == "__main__":
    main()
