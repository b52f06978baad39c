"""Two stages: `sources` (files to staged tidy tables) and `histories` (as-of ranges, text vectors)."""

import polars as pl

from instructue.config import Config
from instructue.files import replacing
from instructue.paths import Paths
from instructue.report import StageReport
from instructue.sources.events import number_texts, stable_sample, tidy, with_text_ids
from instructue.sources.histories import build_histories, check_labels_unseen, check_no_leak
from instructue.sources.readers import Reader, data_folder
from instructue.sources.snapshots import plan_snapshots
from instructue.sources.spec import DatasetSpec, load_dataset
from instructue.sources.tables import VECTORS, load_events

ROW_GROUP = 131_072  # fixed, so that the same data gives the same bytes


def write_table(frame: pl.DataFrame, path) -> None:
    """Parquet with a fixed layout, moved into place when whole."""
    with replacing(path) as temporary:
        frame.write_parquet(temporary, compression="zstd", row_group_size=ROW_GROUP, statistics=True)


def stage_sources(config: Config, paths: Paths) -> StageReport:
    """Read every source, render its texts, write staged tables. One report part per source."""
    from instructue.progress import track

    dataset = load_dataset(config.data.description())
    read: dict[str, pl.DataFrame] = {}
    texts = []
    with Reader(dataset, data_folder(dataset, config.data.folder)) as reader:
        for source in track(dataset.sources, "reading sources"):
            events, own = tidy(dataset, source, reader.rows(source))
            read[source.name] = events
            texts.append(own)
    if config.data.max_users:
        keep = stable_sample(read[dataset.event_sources[0].name]["user"], config.data.max_users)
        # Rows of no user stay in, for validation to name.
        chosen = pl.col("user").is_in(keep.implode()) | pl.col("user").is_null()
        read = {name: frame.filter(chosen) for name, frame in read.items()}
    numbered = number_texts(texts)
    report = StageReport("sources", rows={"texts": numbered.height})
    with replacing(paths.staged) as temporary:
        temporary.mkdir(parents=True)
        write_table(numbered, temporary / "texts.parquet")
        for source in dataset.sources:
            events = with_text_ids(source, read.pop(source.name), numbered)
            write_table(events, temporary / f"{source.name}.parquet")
            report.rows[source.name] = events.height
            report.parts[source.name] = _describe(source.name, events, numbered)
    return report


def _describe(name: str, events: pl.DataFrame, texts: pl.DataFrame) -> StageReport:
    sample = events.head(5).join(texts.select("text_id", "text"), on="text_id", how="left").drop("text_id")
    rows = [{k: str(v) if k == "time" else v for k, v in row.items()} for row in sample.to_dicts()]
    return StageReport(
        "sources",
        rows={name: events.height},
        metrics={"users": events["user"].n_unique(), "texts": events["text_id"].n_unique()},
        tables={"sample": rows},
    )


def stage_histories(config: Config, paths: Paths) -> StageReport:
    """As-of ranges at every snapshot, checked for leaks, and one vector per event text."""
    from safetensors.numpy import save_file

    from instructue.models.text_encoder import TextEncoder

    dataset = load_dataset(config.data.description())
    tables = load_events(dataset, paths)
    snapshots = plan_snapshots(config.histories, dataset.timezone)
    table = build_histories(dataset, tables, snapshots, config.histories.min_events)
    check_no_leak(dataset, tables, table)
    check_labels_unseen(table)
    texts = pl.read_parquet(paths.texts())["text"].to_list()
    with replacing(paths.histories) as temporary:
        temporary.mkdir(parents=True)
        write_table(table, temporary / "histories.parquet")
        vectors = TextEncoder(paths.text_encoder).encode(texts, progress=True)
        save_file({"vectors": vectors}, str(temporary / VECTORS))
    return _describe_histories(dataset, table, len(texts))


def _describe_histories(dataset: DatasetSpec, table: pl.DataFrame, texts: int) -> StageReport:
    lengths = sum((pl.col(f"{s.name}_end") - pl.col(f"{s.name}_start") for s in dataset.event_sources), pl.lit(0))
    by = (
        table.with_columns(events=lengths)
        .group_by("snapshot", "split")
        .agg(pl.len().alias("users"), pl.col("events").median().alias("median_events"), pl.col("horizon_end").first())
        .sort("snapshot")
    )
    rows = [{k: str(v) if k in {"snapshot", "horizon_end"} else v for k, v in row.items()} for row in by.to_dicts()]
    return StageReport("histories", rows={"histories": table.height, "text_vectors": texts}, tables={"snapshots": rows})
