"""Writes the made-up super-app: one Parquet file per source and partition, labels, and apart from them the truth.

Users come in blocks of world.BLOCK, each from its own seed, so user 17 does the same in a world of a thousand and of
a million, and however many users share a file. A block becomes one row group of every file, which is all that is ever
in memory.
"""

import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from instructue.errors import ConfigError
from instructue.files import replacing, write_json
from instructue.progress import track
from instructue.superapp.catalogue import BILL, CHANNELS, FOLDERS, PAGE, PROGRAM, SNAPSHOT, Catalogue, load_catalogue
from instructue.superapp.events import Stream, make_events, noise_rates
from instructue.superapp.outcomes import NEXT_WEEKS, Outcomes, make_outcomes
from instructue.superapp.profiles import make_profiles
from instructue.superapp.world import BLOCK, MODES, STATES, Chains, Users, make_chains, make_users

FIRST_DAY = date(2017, 1, 1)
MANIFEST = "superapp.json"
OFFERED, RANKED = "takes_offer", "next_programs"  # the tasks of these names are judged by them
PROFILES_FOLDER = "profiles"
MOST_EVENTS = 1_000_000  # per user and source, so that numbers of events tell users apart
ITEMS = ("merchant", "program", "page", "app", "query")
NUMBERS = {BILL: "amount", PROGRAM: "minutes", PAGE: "seconds"}
DESCRIPTIONS = ("superapp.yaml", "superapp.tasks.yaml")
DATASETS = Path(__file__).parent.parent / "datasets"


@dataclass(frozen=True)
class Wish:
    """What is asked for: how many users, the seed, the share of irrelevant events, how many users share a file."""

    users: int
    seed: int = 7
    noise: float = 0.3
    users_per_file: int = 10_000

    def check(self) -> None:
        """Raise ConfigError naming what cannot be, and what can."""
        if not 1 <= self.users <= 10_000_000:
            raise ConfigError(f"users {self.users}: from 1 to 10,000,000")
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed}: a whole number from 0 on")
        if not 0 <= self.noise <= 0.95:
            raise ConfigError(f"noise {self.noise}: the share of irrelevant events, from 0 to 0.95")
        if self.users_per_file < BLOCK or self.users_per_file % BLOCK:
            raise ConfigError(f"users per file {self.users_per_file}: a multiple of {BLOCK}")

    @property
    def partitions(self) -> list[range]:
        """The blocks of each file."""
        blocks, step = -(-self.users // BLOCK), self.users_per_file // BLOCK
        return [range(first, min(first + step, blocks)) for first in range(0, blocks, step)]


def generate(wish: Wish, out: Path, workers: int = 1) -> dict[str, int]:
    """Write the world into folder `out` and return the events of each source.

    out holds a folder of part-*.parquet per source and for profiles; labels/ and truth/ with a file per outcome; the
    descriptions superapp.yaml and superapp.tasks.yaml, ready for params.yaml's data.dataset; and superapp.json, which
    says what was asked for. The same wish gives the same bytes with any number of workers.
    Raises ConfigError for an impossible wish, or if `out` holds anything but an earlier world.
    """
    wish.check()
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / MANIFEST).is_file())):
        raise ConfigError(f"{out} is there and holds no generated world; give a new folder")
    with replacing(out) as folder:
        folder.mkdir(parents=True)
        jobs = [(wish, folder, number) for number in range(len(wish.partitions))]
        counted = list(track(_done(jobs, workers), "generating", total=len(jobs)))
        _merge(folder, len(jobs))
        events = {name: sum(counts[name] for counts in counted) for name in CHANNELS}
        for name in DESCRIPTIONS:
            shutil.copyfile(DATASETS / name, folder / name)
        write_json(folder / "truth" / f"{RANKED}.json", {"items": load_catalogue().channels[PROGRAM].names})
        write_json(folder / MANIFEST, asdict(wish) | {"events": events})
    return events


def _done(jobs: list[tuple[Wish, Path, int]], workers: int) -> Iterator[dict[str, int]]:
    if workers <= 1 or len(jobs) == 1:
        yield from map(_partition, jobs)
        return
    # Spawned, as a fork would inherit other libraries' threads.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_partition, jobs)


class _Writers:
    """One open Parquet file per name, below a folder; a table becomes one row group."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack, self._open = stack, {}

    def add(self, path: Path, table: pa.Table) -> None:
        if path not in self._open:
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = pq.ParquetWriter(path, table.schema, compression="zstd", store_schema=False)
            self._open[path] = self._stack.enter_context(writer)
        self._open[path].write_table(table, row_group_size=max(1, table.num_rows))


def _partition(job: tuple[Wish, Path, int]) -> dict[str, int]:
    """Write one partition's files; what is to be merged goes to .parts."""
    wish, folder, number = job
    catalogue, counts = load_catalogue(), dict.fromkeys(CHANNELS, 0)
    with ExitStack() as stack:
        writers = _Writers(stack)
        for block in wish.partitions[number]:
            users = make_users(catalogue, wish.seed, block)
            kept = min(BLOCK, wish.users - block * BLOCK)
            chains = make_chains(catalogue, users, wish.seed, block)
            noise = noise_rates(catalogue, users, chains, wish.noise)
            streams = make_events(catalogue, users, chains, noise, wish.seed, block)
            for c, name in enumerate(CHANNELS):
                table = _event_table(catalogue, c, streams[c], users, kept)
                writers.add(folder / FOLDERS[name] / f"part-{number:05}.parquet", table)
                counts[name] += table.num_rows
            known = make_profiles(catalogue, users, wish.seed, block)
            profiles = pa.table({"user_id": _ids(users, kept)} | {n: pa.array(v[:kept]) for n, v in known.items()})
            writers.add(folder / PROFILES_FOLDER / f"part-{number:05}.parquet", profiles)
            outcomes = make_outcomes(catalogue, users, chains, streams[BILL], noise, wish.seed, block)
            for name, table in _outcome_tables(catalogue, users, chains, outcomes, kept):
                writers.add(folder / ".parts" / f"{number:05}" / name, table)
    return counts


def _ids(users: Users, kept: int) -> np.ndarray:
    return users.first + np.arange(kept, dtype=np.int64)


def _event_table(catalogue: Catalogue, channel: int, events: Stream, users: Users, kept: int) -> pa.Table:
    """user_id, time, the event's number among all, its item in words, and what the source counts or pays."""
    end = int(np.searchsorted(events.user, kept))
    user, item = events.user[:end], events.item[:end].astype(np.int32)
    rank = np.arange(end) - np.searchsorted(user, user)
    micro = (np.datetime64(FIRST_DAY, "us").astype(np.int64) + events.second[:end] * 1_000_000).view("datetime64[us]")
    shown = catalogue.channels[channel]
    columns = {
        "user_id": users.first + user,
        "time": pa.array(micro),
        "event_id": (users.first + user) * MOST_EVENTS + rank,
        ITEMS[channel]: pa.DictionaryArray.from_arrays(item, pa.array(shown.names)),
    }
    if channel == BILL:
        kinds = [topic.get("paid", name) for name, topic in catalogue.topics.items()]
        codes = shown.topic[item].astype(np.int32)
        columns["kind"] = pa.DictionaryArray.from_arrays(codes, pa.array(kinds))
    if channel in NUMBERS:
        columns[NUMBERS[channel]] = events.number[:end]
    return pa.table(columns)


def _outcome_tables(
    catalogue: Catalogue, users: Users, chains: Chains, outcomes: Outcomes, kept: int
) -> Iterator[tuple[str, pa.Table]]:
    """(file, rows) of labels and truth for the block's first `kept` users."""
    ids = _ids(users, kept)
    for name, told in catalogue.raw["outcomes"].items():
        known_on = np.full(kept, np.datetime64(FIRST_DAY + timedelta(weeks=SNAPSHOT + told["weeks"])))
        label = {"user": ids, "label": outcomes.happened[name][:kept], "known_on": known_on}
        yield f"labels/{name}.parquet", pa.table(label)
        yield f"truth/{name}.parquet", pa.table({"user": ids, "chance": outcomes.chance[name][:kept]})
    label, chance = _offer_tables(list(catalogue.raw["offers"]), outcomes, ids)
    yield f"labels/{OFFERED}.parquet", label
    yield f"truth/{OFFERED}.parquet", chance
    rows = pa.FixedSizeListArray.from_arrays(outcomes.programs[:kept].ravel(), outcomes.programs.shape[1])
    yield f"truth/{RANKED}.parquet", pa.table({"user": ids, "chances": rows})
    yield "truth/latent.parquet", _latent(catalogue, users, chains, kept)


def _offer_tables(offers: list[str], outcomes: Outcomes, ids: np.ndarray) -> tuple[pa.Table, pa.Table]:
    """Labels and truth, one row per user and offer; truth calls the offer `context`, as evaluation does."""
    kept, user, offer = len(ids), np.repeat(ids, len(offers)), np.tile(np.array(offers), len(ids))
    known_on = np.full(len(user), np.datetime64(FIRST_DAY + timedelta(weeks=SNAPSHOT + NEXT_WEEKS)))
    drawn = {"label": outcomes.answered, "treated": outcomes.mailed}
    drawn = {name: values[:kept].ravel() for name, values in drawn.items()}
    known = {"chance": outcomes.offered, "if_treated": outcomes.if_mailed, "if_not": outcomes.if_not}
    known = {name: values[:kept].ravel() for name, values in known.items()}
    labels = pa.table({"user": user, "offer": offer} | drawn | {"known_on": known_on})
    return labels, pa.table({"user": user, "context": offer} | known)


def _latent(catalogue: Catalogue, users: Users, chains: Chains, kept: int) -> pa.Table:
    """Who the users are, and the state of each chain at the evaluation snapshot."""
    columns = {
        "user": _ids(users, kept),
        "stage": np.array(list(catalogue.raw["stages"]))[users.stage[:kept]],
        "home": np.array(list(catalogue.raw["homes"]))[users.home[:kept]],
        "income": users.income[:kept],
        "thrift": users.thrift[:kept],
        "activity": users.activity[:kept],
    }
    states = {}
    for k, name in enumerate(catalogue.chains):
        words = MODES if "mode" in catalogue.topics[name] else STATES
        states[f"{name}_state"] = np.array(words)[chains.now[:kept, k]]
    return pa.table(columns | states)


def _merge(folder: Path, partitions: int) -> None:
    """Join the partitions' labels and truth into one file each, row group by row group."""
    parts = folder / ".parts"
    for first in sorted((parts / "00000").rglob("*.parquet")):
        name = first.relative_to(parts / "00000")
        with ExitStack() as stack:
            writers = _Writers(stack)
            for number in range(partitions):
                source = pq.ParquetFile(parts / f"{number:05}" / name)
                for group in range(source.num_row_groups):
                    writers.add(folder / name, source.read_row_group(group))
    shutil.rmtree(parts)
