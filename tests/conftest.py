"""Shared fixtures: a small slice of the real data set, and projects that read it."""

import os

# Before any library starts its threads or its telemetry.
os.environ.update(
    OMP_NUM_THREADS="1",
    POLARS_MAX_THREADS="2",
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    GX_ANALYTICS_ENABLED="false",
    MLFLOW_DISABLE_TELEMETRY="true",
    DO_NOT_TRACK="true",
    DVC_NO_ANALYTICS="1",
)

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from instructue.changes import with_variant
from instructue.config import Config, parse_config
from instructue.paths import Paths
from instructue.sources.readers import data_folder
from instructue.sources.spec import load_dataset

ROOT = Path(__file__).parent.parent
HOUSEHOLDS = 60

# Files whose fixtures take longest begin first, lest one worker end alone with them.
LONGEST = ("test_whole_chain.py", "test_chain.py", "test_embed.py", "test_own.py", "test_studies_stage.py",
           "test_loop.py", "test_bring.py", "test_facts.py", "test_server_real.py")  # fmt: skip

MakeProject = Callable[..., tuple[Config, Paths]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """See LONGEST; the order within a file stays."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture(scope="session")
def slice_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Complete Journey's own files cut to 60 households: redeemers first, then those with demographics, then the rest.

    Read only: a test that changes a file works on a copy. Promotions are those of what the households bought, where
    and when; products and coupons those that they met.
    """
    import duckdb

    origin, folder = data_folder(load_dataset("complete_journey")), tmp_path_factory.mktemp("slice")
    with duckdb.connect() as db:
        for path in origin.glob("*.parquet"):
            rows = f"read_parquet('{path}', file_row_number=true)"
            db.execute(f"create view {path.stem} as select * exclude file_row_number, file_row_number as n from {rows}")
        db.execute(f"""
            create table chosen as
              (select distinct household_id from coupon_redemptions order by 1 limit {HOUSEHOLDS // 3})
              union (select household_id from demographics anti join coupon_redemptions using (household_id)
                     order by 1 limit {HOUSEHOLDS // 3});
            insert into chosen select distinct household_id from transactions
              where household_id not in (from chosen) and household_id not in (select household_id from demographics)
              order by 1 limit {HOUSEHOLDS} - (select count(*) from chosen);
            create table bought as select * from transactions where household_id in (from chosen);
            create table redeemed as select * from coupon_redemptions where household_id in (from chosen);
            create table offered as select * from coupons where product_id in (select product_id from bought)
              or coupon_upc in (select coupon_upc from redeemed);
        """)
        kept = {
            "transactions": "from bought",
            "coupon_redemptions": "from redeemed",
            "coupons": "from offered",
            "products": "from products semi join (from bought select product_id union from offered select product_id) "
            "using (product_id)",
            "promotions": "from promotions semi join bought using (product_id, store_id, week)",
            "campaigns": "from campaigns where household_id in (from chosen)",
            "campaign_descriptions": "from campaign_descriptions",
            "demographics": "from demographics where household_id in (from chosen)",
        }
        for table, query in kept.items():
            db.execute(f"copy (select * exclude n {query} order by n) to '{folder / table}.parquet' (compression zstd)")
    return folder


@pytest.fixture(scope="session")
def make_project(slice_folder: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> MakeProject:
    """make_project(folder=None, root=None, changes=None) -> (config, paths).

    The committed params.yaml in its debug variant, with `changes` as {"section.key": value}, reading `folder`
    (default: the slice), in `root` (default: a new one). A text that one project has encoded is known to all.
    """
    base = tmp_path_factory.getbasetemp()
    known = (base if worker_id == "master" else base.parent) / "text_vectors"
    known.mkdir(exist_ok=True)

    def make(
        folder: Path | None = None, root: Path | None = None, changes: dict[str, Any] | None = None
    ) -> tuple[Config, Paths]:
        root = root or tmp_path_factory.mktemp("project")
        Paths(root).cache.mkdir(exist_ok=True)
        if not Paths(root).text_vectors.exists():
            Paths(root).text_vectors.symlink_to(known)
        raw = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        raw["variants"]["test"] = {
            **raw["variants"]["debug"],
            "data.folder": str(folder or slice_folder),
            **(changes or {}),
        }
        changed = with_variant(raw, "test")
        (root / "params.yaml").write_text(yaml.safe_dump(changed, sort_keys=False), encoding="utf-8")
        return parse_config(changed, "params.yaml"), Paths(root)

    return make


@pytest.fixture(scope="session")
def shared(make_project: MakeProject, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable:
    """shared(name, changes, stages) -> (config, paths): a project that all test processes share, each stage run once.

    Whoever comes first runs a stage; the others wait for it. Read only.
    """
    from filelock import FileLock

    from instructue.stages import STAGES

    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent

    def share(name: str, changes: dict[str, Any], stages: Sequence[str]) -> tuple[Config, Paths]:
        root = base / f"shared-{name}"
        with FileLock(base / f"{name}.lock"):
            root.mkdir(exist_ok=True)
            config, paths = make_project(root=root, changes=changes)
            for stage in stages:
                if not (done := root / f".{stage}.done").exists():
                    STAGES[stage](config, paths)
                    done.touch()
        return config, paths

    return share


@pytest.fixture
def project(make_project: MakeProject, tmp_path: Path) -> tuple[Config, Paths]:
    """A fresh, empty project on the slice, in this test's own folder."""
    return make_project(root=tmp_path)


@pytest.fixture(scope="session")
def staged(make_project: MakeProject) -> tuple[Config, Paths]:
    """A project whose `sources` stage has run on the slice. Read only."""
    from instructue.stages import STAGES

    config, paths = make_project()
    STAGES["sources"](config, paths)
    return config, paths


@pytest.fixture(scope="session")
def published(make_project: MakeProject) -> tuple[Config, Paths]:
    """A project whose `sources` and `validation` stages have run on the slice. Read only."""
    from instructue.stages import STAGES

    config, paths = make_project()
    for stage in ("sources", "validation"):
        STAGES[stage](config, paths)
    return config, paths
