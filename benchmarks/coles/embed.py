"""CoLES and CPC on the project's histories, as external embeddings. Runs in its own environment; see README.md.

One sequence per user: the events of all sources in order of time, each with its source, text, attributes, amount and
the days since the event before. Trained on events before the user's last training snapshot, without labels.
"""

import argparse
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from instructue.config import load_config  # noqa: E402
from instructue.paths import Paths  # noqa: E402
from instructue.sources.spec import DatasetSpec, load_dataset  # noqa: E402

SEED, WIDTH = 7, 128
TEXTS, VALUES = 4000, 400  # values with a code of their own, the most frequent first; others share one
LONGEST = 800  # events of a user that are embedded, the last ones
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="project whose data/ is read")
    parser.add_argument("--out", type=Path, help="folder to write to; default: data/external below the root")
    parser.add_argument("--methods", nargs="+", choices=["coles", "cpc"], default=["coles", "cpc"])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--slices", nargs=2, type=int, default=[25, 150], metavar=("LEAST", "MOST"), help="of CoLES")
    parser.add_argument("--splits", type=int, default=5, help="slices of a user in a batch of CoLES")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    dataset = load_dataset(load_config(ROOT / "params.yaml").data.description(ROOT))
    paths = Paths(args.root)
    out = args.out or args.root / "data" / "external"
    out.mkdir(parents=True, exist_ok=True)
    histories = pd.read_parquet(paths.histories / "histories.parquet")
    now = histories[histories["split"] == "evaluation"].sort_values("user")
    before = histories[histories["split"] == "train"].sort_values("snapshot").drop_duplicates("user", keep="last")
    events = read_events(dataset, paths)
    taught, asked = spans(events, before), spans(events, now)
    codes = encode(dataset, pd.read_parquet(paths.texts()), events, taught)
    learn_from, embed_from = (sequences(events, codes, found) for found in (taught, asked))
    sizes = {column: int(values.max()) + 1 for column, values in codes.items()}
    for method in args.methods:
        started = time.monotonic()
        vectors = train(method, learn_from, embed_from, sizes, args)
        table = pd.DataFrame({"user": now["user"].to_numpy(), "vector": list(vectors)})
        table["snapshot"] = now["snapshot"].reset_index(drop=True)
        table["hides"] = [[s.name for s in dataset.attribute_sources]] * len(table)
        table["method"] = method
        table.to_parquet(out / f"{method}.parquet", index=False)
        print(f"{method}: {len(table)} users, {vectors.shape[1]} numbers each, {time.monotonic() - started:.0f} s")


def read_events(dataset: DatasetSpec, paths: Paths) -> dict[str, np.ndarray]:
    """Per event source, in the order of its published table: text, amount and time in seconds, [events, 3]."""
    found = {}
    for source in dataset.event_sources:
        table = pd.read_parquet(paths.table(source.name), columns=["text_id", "time", *source.columns[:1]])
        amount = table[source.columns[0]].fillna(0).clip(lower=0) if source.columns else pd.Series(0.0, table.index)
        found[source.name] = np.stack([table["text_id"], amount, seconds(table["time"])], axis=1).astype(float)
    return found


def seconds(moments: pd.Series) -> np.ndarray:
    return moments.dt.tz_convert("UTC").astype("datetime64[s, UTC]").astype("int64").to_numpy()


def spans(events: dict[str, np.ndarray], histories: pd.DataFrame) -> dict[str, np.ndarray]:
    """Row ranges [histories, 2] per source; all events in them lie strictly before their history's snapshot."""
    found = {s: histories[[f"{s}_start", f"{s}_end"]].to_numpy().astype(int) for s in events}
    for source, ranges in found.items():
        filled = ranges[:, 1] > ranges[:, 0]
        last = events[source][ranges[filled, 1] - 1, 2]
        if (last >= seconds(histories["snapshot"])[filled]).any():
            raise SystemExit(f"histories of {source} reach past their snapshots; run the histories stage again")
    return found


def encode(
    dataset: DatasetSpec, texts: pd.DataFrame, events: dict[str, np.ndarray], taught: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Per column a code of each text [texts], by frequency in what is learnt from; 0: the text has no such thing."""
    often = np.zeros(len(texts))
    for source, ranges in taught.items():
        for start, end in ranges:
            often += np.bincount(events[source][start:end, 0].astype(int), minlength=len(texts))
    words = {"source": texts["source"], "text": texts["text_id"].astype(str)}
    # A bare `type` would hide a method of torch's modules.
    names = sorted({a for s in dataset.event_sources for a in s.attributes})
    words |= {f"attribute_{name}": texts[name] for name in names}
    codes = {}
    for column, values in words.items():
        counts = pd.Series(often).groupby(values.to_numpy(), dropna=True).sum().sort_index()
        ranked = counts[counts > 0].sort_values(ascending=False, kind="stable")
        ranked = ranked.head(TEXTS if column == "text" else VALUES).index
        known = values.map({word: code for code, word in enumerate(ranked, start=1)})
        codes[column] = known.fillna(values.notna() * (len(ranked) + 1)).to_numpy().astype(int)
    return codes


def sequences(
    events: dict[str, np.ndarray], codes: dict[str, np.ndarray], ranges: dict[str, np.ndarray]
) -> list[dict[str, torch.Tensor]]:
    """One dictionary of columns per history, in order of time; one without events gets a single empty event."""
    found = []
    for place in range(len(next(iter(ranges.values())))):
        rows = np.concatenate([events[source][slice(*ranges[source][place])] for source in events])
        rows = rows[np.argsort(rows[:, 2], kind="stable")][-LONGEST:]
        text, empty = rows[:, 0].astype(int), np.zeros(1, int)
        made = {c: torch.from_numpy(values[text] if len(text) else empty) for c, values in codes.items()}
        rows = rows if len(rows) else np.zeros((1, 3))
        days = np.diff(rows[:, 2], prepend=rows[0, 2]) / 86400
        made["amount"] = torch.from_numpy(np.log1p(rows[:, 1]).astype(np.float32))
        made["gap"] = torch.from_numpy(np.log1p(days).astype(np.float32))
        made["event_time"] = torch.from_numpy(rows[:, 2].astype(np.float32))
        found.append(made)
    return found


def train(
    method: str, learn_from: list, embed_from: list, sizes: dict[str, int], args: argparse.Namespace
) -> np.ndarray:
    """Fit by pytorch-lifestream and embed: float32 [users, WIDTH]."""
    import pytorch_lightning as lightning
    from ptls.data_load.utils import collate_feature_dict
    from ptls.frames.coles import ColesDataset, CoLESModule
    from ptls.frames.coles.split_strategy import SampleSlices
    from ptls.frames.cpc.datasets.cpc_dataset import CpcDataset
    from ptls.frames.cpc.modules.cpc_module import CpcModule
    from ptls.nn import RnnSeqEncoder, TrxEncoder

    lightning.seed_everything(SEED, workers=True)
    widths = {"text": 48, "source": 4}
    encoder = TrxEncoder(
        embeddings={name: {"in": size, "out": widths.get(name, 12)} for name, size in sizes.items()},
        numeric_values={"amount": "identity", "gap": "identity"},
        linear_projection_size=96,
    )
    sequence = RnnSeqEncoder(trx_encoder=encoder, hidden_size=WIDTH, type="gru")
    ways = {
        "optimizer_partial": partial(torch.optim.Adam, lr=2e-3),
        "lr_scheduler_partial": partial(torch.optim.lr_scheduler.StepLR, step_size=max(1, args.epochs // 3), gamma=0.5),
    }
    if method == "coles":
        module = CoLESModule(seq_encoder=sequence, **ways)
        data = ColesDataset(learn_from, SampleSlices(args.splits, *args.slices))
    else:
        module = CpcModule(seq_encoder=sequence, n_negatives=32, n_forward_steps=6, **ways)
        data = CpcDataset([x for x in learn_from if len(x["text"]) > 20], min_len=30, max_len=96)
    loader = torch.utils.data.DataLoader(
        data, BATCH, shuffle=True, drop_last=len(data) > BATCH, collate_fn=data.collate_fn
    )

    class Told(lightning.Callback):
        def on_train_epoch_end(self, trainer, module) -> None:
            loss, spent = float(trainer.callback_metrics["loss"]), time.monotonic() - started
            print(
                f"{method}: epoch {trainer.current_epoch + 1} of {args.epochs}, loss {loss:.3f}, {spent:.0f} s",
                flush=True,
            )

    started = time.monotonic()
    trainer = lightning.Trainer(
        max_epochs=args.epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[Told()], gradient_clip_val=1.0,
    )  # fmt: skip
    trainer.fit(module, loader)
    return embed(module.seq_encoder.eval(), embed_from, collate_feature_dict)


def embed(sequence, users: list, collate) -> np.ndarray:
    """The recurrent state after each user's last event, in the order of `users`."""
    sequence.is_reduce_sequence = True
    order = np.argsort([len(user["text"]) for user in users], kind="stable")
    out = np.zeros((len(users), WIDTH), np.float32)
    with torch.inference_mode():
        for batch in np.array_split(order, max(1, len(order) // BATCH)):
            out[batch] = sequence(collate([users[place] for place in batch])).float().numpy()
    return out


if __name__ == "__main__":
    main()
