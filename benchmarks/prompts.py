"""What a soft prompt learnt from few labels is worth, beside the words it starts from and a probe on the same labels.

    python benchmarks/prompts.py --root . [--labels 16 64 256] [--task buy4w_coffee ...] [--passes 1]

Needs a project whose `model` stage has run. Tasks are the data set's with yes-or-no labels and one instruction for all.
The rows learnt from are evaluation's own draws for few labels: one per fold and pass, so that each pass scores every
user once, by what others' labels taught; where a draw has too few of one answer to learn a prompt from, the number of
labels is left out. Scored are: similarity to "yes" less that to "no" under the words (no label);
the same under the prompt; and a linear probe on the vectors under the words. AUC is taken of ranks within folds,
averaged over passes; intervals are over users, of pairs on the same users and draws. The last line is one JSON object.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from instructue import InstructUE
from instructue.api.prompts import OF_EACH
from instructue.config import load_config
from instructue.evaluation.metrics import binary_metrics
from instructue.evaluation.population import Population
from instructue.evaluation.prediction import enough
from instructue.evaluation.probe import probe_logistic
from instructue.evaluation.protocol import Protocol, Split, interval, within_folds
from instructue.evaluation.studies.judging import labels_of
from instructue.evaluation.tasks import TaskSpec, load_tasks
from instructue.paths import Paths
from instructue.progress import track
from instructue.sources.tables import load_tables

WAYS = ("words", "prompt", "probe")


def main() -> None:
    options = _options()
    config, paths = load_config(options.root / "params.yaml"), Paths(options.root)
    population = Population.of(load_tables(config, paths))
    every = load_tasks(config.data.description())
    tasks = [task for task in every if _fits(task) and (not options.task or task.name in options.task)]
    protocol = Protocol.draw(config.evaluation, population, every)
    options.folds = config.evaluation.folds
    model = InstructUE.from_pretrained(options.root)
    found = {}
    for task in tasks:
        found |= _of_task(model, task, population, protocol, options)
    print(json.dumps(found))


def _fits(task: TaskSpec) -> bool:
    """Yes-or-no, and the same instruction for every row."""
    return task.yes is not None and "{" not in task.instruction.replace("{who}", "")


def _of_task(
    model: InstructUE, task: TaskSpec, population: Population, protocol: Protocol, options: argparse.Namespace
) -> dict[str, dict]:
    rows, y, places = labels_of(task, population)
    who = population.tables.dataset.who
    texts = [text.replace("{who}", who) for text in (task.instruction, task.yes or "", task.no or "")]
    few = Few(model, rows["user"].to_list(), y, texts, list(task.hides))
    found = {}
    for size in options.labels:
        splits = []
        if enough(y, places, protocol, size):
            splits = list(replace(protocol, few_draws=options.passes * options.folds).few_splits(places, y, size))
        rarest = min((min(int(y[s.train].sum()), int((1 - y[s.train]).sum())) for s in splits), default=0)
        if rarest < OF_EACH:
            print(f"{task.name}, {size} labels: a draw has fewer than {OF_EACH} of one answer; left out", flush=True)
            continue
        scores, kept = np.zeros((len(WAYS), options.passes, len(y))), []
        for split in track(splits, f"{task.name}, {size} labels"):
            *scored, steps = few.scored(split)
            kept.append(steps == 0)
            for way, values in enumerate(scored):
                scores[way, split.repeat, split.test] = within_folds(values, split)
        found |= _said(f"{task.name}_{size}", scores, y, protocol.weights[:, places], float(np.mean(kept)))
    return found


class Few:
    """One task's rows: users, labels, and the texts of instruction, yes and no."""

    def __init__(self, model: InstructUE, users: list, y: np.ndarray, texts: list[str], hide: list[str]) -> None:
        self.model, self.users, self.y, self.texts, self.hide = model, users, y, texts, hide
        self.vectors = model.encode(users, texts[0], hide=hide)
        yes, no = model.encode_answers(texts[1:])
        self.direction = yes - no

    def scored(self, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Scores of the rows held out in each of WAYS, and how many steps the prompt took."""
        train, test = self.vectors[split.train], self.vectors[split.test]
        logits, _ = probe_logistic(train, self.y[split.train], test, split.inner)
        with TemporaryDirectory() as folder:
            taught, held = ([self.users[row] for row in rows] for rows in (split.train, split.test))
            labels = self.y[split.train] > 0
            about = self.model.learn_prompt("few", *self.texts, taught, labels, hide=self.hide, folder=folder)
            chances = self.model.probability(held, Path(folder) / "few.safetensors")
        return test @ self.direction, chances, logits, about.steps


def _said(name: str, scores: np.ndarray, y: np.ndarray, weights: np.ndarray, kept: float) -> dict[str, dict]:
    draws = [np.mean([binary_metrics(s, y, weights, ("auc",))["auc"] for s in way], axis=0) for way in scores]
    figures: dict = {way: round(float(auc[0]), 4) for way, auc in zip(WAYS, draws, strict=True)}
    for other, against in (("words", draws[0]), ("probe", draws[2])):
        gap = draws[1] - against
        figures[f"prompt_less_{other}"] = [round(float(v), 4) for v in (gap[0], *(interval(gap[1:]) or ()))]
    print(f"{name} (n {len(y)}, {int(y.sum())} yes): {figures}, words kept in {kept:.0%}", flush=True)
    return {name: figures | {"kept_the_words": kept}}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(), help="the project")
    parser.add_argument("--labels", type=int, nargs="+", default=[16, 64, 256], help="how many labels")
    parser.add_argument("--task", nargs="*", default=[], help="tasks (default: all that fit)")
    parser.add_argument("--passes", type=int, default=1, help="draws per fold")
    return parser.parse_args()


if __name__ == "__main__":
    main()
