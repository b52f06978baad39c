"""What embedding and training cost, beside the plain way and beside the machine's own matrix product; all in one run.

    python benchmarks/throughput.py --root . [--users 64] [--plain-users 4] [--rounds 3] [--growth] [--plot FILE]

Needs a project whose `histories` and `userqa` stages have run; histories are its own, drawn at random.

The plain way (benchmarks/plain) is how the reference code of this family works. Each (user, instruction) is a
sequence of its own, [history][instruction][<USER>](answer), padded to what params.yaml allows; the text encoder runs
on every event's text, for every sequence anew; transformers' own forward takes the batch with a mask.
Its instruction sees the history, where ours is read once for all; its evidence stays zero.
Which history: the very soft tokens of our rows (windows, telling texts, attributes, retrieved), so that its language
model reads the same per sequence (in all layers, where ours leaves out what nobody reads of the last); an event's
text is encoded even if another event has the same, as the windows pool all events. Four things are granted to it:
texts are sorted by length and encoded in our dtype; its windows pool text vectors before the source's encoder runs,
where the reference runs the encoder on each event; the language model's head runs on answers' tokens alone; in
embedding LoRA is added to the weights. It is measured on few users, those in the middles of equal blocks by number of
events, and compared per user or triplet.

Two further degrees say where the difference comes from: `texts_once_a_user` encodes the texts once for all
instructions of a user, `separate` has all text vectors cached, as ours: what remains is packing. The
`with_filling_the_cache` ratios charge ours with encoding each distinct text once, over all users or the whole run.

Every round runs every side in turn; a figure is the median of the rounds' ratios. gemm_share: useful operations
(measure/flops.py says what counts; never more than torch's counter saw) per second of a whole call or step, making
the batch included, over the rate of a 4096 x 4096 product in the configured dtype in the same round; the lower of
embedding's and training's. The last line is one JSON object.
"""

import argparse
import json
from pathlib import Path

import torch

from measure import growth
from measure.clock import load
from measure.embedding import Embedding
from measure.setup import set_up
from measure.training import Training

QUIET = 0.5  # load average of the minute before; the run's own threads are not yet in it


def main() -> None:
    options = _options()
    before = load()
    print(
        f"load average {before:.2f} ({'quiet' if before < QUIET else 'busy'}), {torch.get_num_threads()} threads",
        flush=True,
    )
    setup = set_up(options.root)
    print(f"text encoder: {setup.texts_a_second:.0f} texts per second", flush=True)
    tables: dict[str, list[growth.Row]] = {}
    embedding = Embedding(setup)
    print("embedding")
    figures = embedding.measure(options.users, options.plain_users, options.rounds)
    if options.growth:
        tables["embedding"] = embedding.grow(options.users, options.plain_users, options.rounds)
    embedding.close()
    print("training", flush=True)
    training = Training(setup)
    figures |= training.measure(options.plain_users, options.rounds)
    if options.growth:
        tables["training"] = training.grow(options.rounds)
    for title, rows in tables.items():
        print(*growth.lines(f"{title}, ms per user and instruction", rows), sep="\n")
    if options.plot and tables:
        growth.plot(options.plot, tables)
    for side in ("embed", "train"):
        if figures[f"{side}_executed_over_useful"] < 1:
            print(
                f"{side}: torch counts fewer operations than the formula; measure/flops.py no longer fits the network"
            )
    first = {k: figures.pop(k) for k in ("embed_8_vs_plain", "embed_8_vs_1", "train_vs_plain")}
    first["gemm_share"] = min(figures["gemm_share_embed"], figures["gemm_share_train"])
    asked = {"users": options.users, "plain_users": options.plain_users, "rounds": options.rounds}
    print(json.dumps({k: float(f"{v:.4g}") for k, v in (first | figures).items()} | asked | {"load_before": before}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(), help="the project")
    parser.add_argument("--users", type=int, default=64, help="users that ours embeds")
    parser.add_argument("--plain-users", type=int, default=4, help="users that the plain way takes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--growth", action=argparse.BooleanOptionalAction, default=True, help="the tables of growth")
    parser.add_argument("--plot", type=Path, help="picture of the tables")
    options = parser.parse_args()
    if options.plain_users > options.users:
        parser.error(f"--plain-users {options.plain_users} is more than --users {options.users}")
    return options


if __name__ == "__main__":
    main()
