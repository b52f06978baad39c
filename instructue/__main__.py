"""python -m instructue STAGE: run one stage of the chain. Other verbs: see --help."""

import argparse
import contextlib
import logging
import os
import sys
import time
from pathlib import Path

import yaml

from instructue.changes import with_variant
from instructue.config import Config, load_config
from instructue.errors import ConfigError, InstructUEError
from instructue.paths import Paths
from instructue.progress import speaks
from instructue.sources.command import DESCRIBE, INIT, add_describe, add_init
from instructue.stages import STAGES
from instructue.superapp.command import SUPERAPP, add_superapp
from instructue.telemetry import hub_off, telemetry_off

EXAMPLES = """
the chain, in order:
  {chain}

examples:
  python -m instructue sources                    read the data set's tables into data/staged
  python -m instructue model --variant debug      the same stage, small: minutes become seconds
  torchrun --standalone --nproc_per_node=2 -m instructue model      train in two processes (docs/training.md)
  python -m instructue userqa --estimate          what wording the questions would cost, before it does
  python -m instructue evaluate --task buy4w_coffee --method instructue --method tfidf_lr
  python -m instructue evaluate --tasks ours.tasks.yaml   your own tasks (docs/tasks.md), all methods, same report
  python -m instructue init logs/ --out shop.yaml describe your own files: looks at them and proposes (docs/sources.md)
  python -m instructue describe shop.yaml         what is in them: events per month, missing values, texts
  python -m instructue superapp --users 2000 --out data/superapp   a made-up data set whose best results are known
  python -m instructue prompt coffee --labels known.csv --instruction "Will it buy coffee?" --yes "Yes." --no "No."
  python -m instructue params                     every knob of params.yaml: value, range, meaning
  python -m instructue params --variant debug --yaml > elsewhere/params.yaml
  python -m instructue results                    the table of results of the last evaluation
  python -m instructue quarantine                 rows that the validation set aside: how many, which, and why
  python -m instructue quarantine purchase --rule amount_in_range --rows 50
  python -m instructue doctor                     is this machine fit to run?

One stage runs here whether or not it is up to date. `make run` (or `dvc repro`) runs the whole chain
and skips what is up to date.
"""


def parser() -> argparse.ArgumentParser:
    """The command line: one sub-command per stage, and the other verbs."""
    epilog = EXAMPLES.format(chain=" > ".join(STAGES))
    top = argparse.ArgumentParser(
        prog="python -m instructue",
        description="Instruction-aware user embeddings, stage by stage.",
        epilog=epilog,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=16, width=110),
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--root", type=Path, default=Path(), metavar="FOLDER", help="project root (default: here)")
    common.add_argument("--variant", metavar="NAME", help="apply this named set of changes from params.yaml")
    common.add_argument("--verbose", action="store_true", help="log details")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="STAGE|VERB")
    for name, stage in STAGES.items():
        said = (stage.__doc__ or "").strip()
        verb = verbs.add_parser(name, parents=[common], help=f"stage: {said}", description=said)
        verb.set_defaults(do=run_stage)
        if name == "userqa":
            verb.add_argument(
                "--limit", type=int, metavar="N", help="sample this many triplets instead of params.yaml's"
            )
            verb.add_argument(
                "--estimate", action="store_true", help="say what would be asked of the model; do nothing"
            )
            verb.set_defaults(do=run_userqa)
    _add_evaluate(verbs, common)
    add_init(_taught(verbs, common, "init", INIT, "init logs/ --out shop.yaml"))
    add_describe(_taught(verbs, common, "describe", DESCRIBE, "describe shop.yaml"))
    add_superapp(_taught(verbs, common, "superapp", SUPERAPP, "superapp --users 2000 --out data/superapp"))
    _add_prompt(verbs, common)
    params = verbs.add_parser("params", parents=[common], help="every knob with its value, range and meaning")
    params.add_argument("--yaml", action="store_true", help="print as a params.yaml, the variant applied")
    params.set_defaults(do=show_params)
    results = verbs.add_parser("results", parents=[common], help="the table of results of the last evaluation")
    results.set_defaults(do=show_results)
    _add_quarantine(verbs, common)
    doctor = verbs.add_parser("doctor", parents=[common], help="check this machine and this checkout, with mends")
    doctor.set_defaults(do=see_doctor)
    return top


def _add_quarantine(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    said = "Show and count the rows that the last validation set aside."
    further = (
        "Each with its source, file, row number (from 0), the rule that it breaks and what stands there. All of them "
        "lie in data/quarantine as Parquet. Mend the file and run `sources` and `validation` again, or go on without "
        "these rows by validation.max_quarantined_share in params.yaml."
    )
    verb = verbs.add_parser("quarantine", parents=[common], help="the rows that the validation set aside, and why",
                            description=f"{said} {further}")  # fmt: skip
    verb.add_argument("source", nargs="?", metavar="SOURCE", help="only this source")
    verb.add_argument("--rule", metavar="NAME", help="only rows that break this rule")
    verb.add_argument("--rows", type=int, default=10, metavar="N", help="show so many rows (default: 10)")
    verb.set_defaults(do=show_quarantine)


def _taught(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    common: argparse.ArgumentParser,
    name: str,
    said: str,
    example: str,
) -> argparse.ArgumentParser:
    """A verb whose help ends with an example; the first line of `said` stands in the list of verbs."""
    return verbs.add_parser(
        name, parents=[common], help=said.partition("\n")[0], description=said,
        epilog=f"example:\n  python -m instructue {example}", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def _add_evaluate(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    said = "Judge some tasks or methods, or a team's own tasks, under the protocol of the evaluation stage."
    further = "Embeds what is missing; what was judged before comes from the cache. Writes reports/evaluation-....html."
    verb = verbs.add_parser("evaluate", parents=[common], help=f"{said[0].lower()}{said[1:-1]}",
                            description=f"{said} {further}")  # fmt: skip
    verb.add_argument("--tasks", type=Path, metavar="FILE", help="a YAML file of tasks (docs/tasks.md) to run instead")
    verb.add_argument("--task", action="append", default=[], metavar="NAME", help="only this task; may be repeated")
    verb.add_argument("--method", action="append", default=[], metavar="NAME", help="only this method; may be repeated")
    verb.add_argument(
        "--external",
        action="append",
        default=[],
        metavar="PARQUET",
        help="embeddings of your own method (user, vector)",
    )
    verb.set_defaults(do=run_evaluate)


def _add_prompt(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser) -> None:
    said = "learn a soft prompt for one task from few labels, the model frozen (docs/model.md)"
    verb = verbs.add_parser("prompt", parents=[common], help=said, description=f"{said}; writes data/prompts.")
    verb.add_argument("name", metavar="NAME", help="what it is used by: model.encode(users, prompt=NAME)")
    verb.add_argument("--labels", type=Path, required=True, metavar="FILE", help="Parquet or CSV: user, label")
    for name, what in (("instruction", "what is asked"), ("yes", "the answer where true"), ("no", "where false")):
        verb.add_argument(f"--{name}", required=True, metavar="TEXT", help=what)
    verb.add_argument("--at", metavar="TIME", help="the moment histories end before (default: evaluation snapshot)")
    verb.add_argument("--hide", action="append", default=[], metavar="SOURCE", help="a source not to look at")
    verb.set_defaults(do=run_prompt)


def run_prompt(args: argparse.Namespace) -> int:
    """Learn a prompt and say what it is worth."""
    import polars as pl

    from instructue.api.model import InstructUE
    from instructue.evaluation.columns import TeamFile

    file = TeamFile(args.labels.resolve())
    users, labels = file.column("user").users(pl.Int64()).to_list(), file.column("label").truths().to_list()
    model = InstructUE.from_pretrained(args.root.resolve())
    words = (args.instruction, args.yes, args.no)
    about = model.learn_prompt(args.name, *words, users, labels, at=args.at, hide=args.hide)
    worth = f"loss on labels held out {about.loss_before:.3f} with the words, {about.loss_after:.3f} with the prompt"
    print(f"{about.name}: {about.labels} labels, {about.steps} steps; {worth}")
    return 0


def run_evaluate(args: argparse.Namespace) -> int:
    """Evaluate what was asked for and say where the report is."""
    from instructue.evaluation.own import Wish, evaluate_own
    from instructue.show import print_results, summary

    paths = Paths(args.root.resolve())
    config = load_config(paths.params, args.variant)
    hub_off(config.base_models.language.source, config.base_models.text_encoder.source)
    evaluation = config.evaluation.model_copy(update={"external": [*config.evaluation.external, *args.external]})
    wish = Wish(args.tasks.resolve() if args.tasks else None, args.task, args.method)
    started = time.monotonic()
    with contextlib.chdir(paths.root):
        report = evaluate_own(config.model_copy(update={"evaluation": evaluation}), paths, wish)
    print("\n".join(summary(report, time.monotonic() - started)))
    print_results(wish.stem(paths).with_name(f"{wish.stem(paths).name}.json"))
    return 0


def run_stage(args: argparse.Namespace) -> int:
    """Run one stage and say what it made."""
    from instructue.show import summary

    paths = Paths(args.root.resolve())
    config = limited(load_config(paths.params, args.variant), args)
    hub_off(config.base_models.language.source, config.base_models.text_encoder.source)
    started = time.monotonic()
    with contextlib.chdir(paths.root):  # so that folders named in params.yaml are relative to the root
        report = STAGES[args.verb](config, paths)
    if not speaks():
        return 0
    print("\n".join(summary(report, time.monotonic() - started)))
    return 0


def run_userqa(args: argparse.Namespace) -> int:
    """The stage with a limit, or its estimate alone."""
    if args.limit is not None and args.limit < 8:
        raise ConfigError(f"--limit {args.limit}: at least 8 triplets are needed")
    if not args.estimate:
        return run_stage(args)
    from instructue.userqa.generate import estimate

    paths = Paths(args.root.resolve())
    with contextlib.chdir(paths.root):
        print(estimate(limited(load_config(paths.params, args.variant), args), paths))
    return 0


def limited(config: Config, args: argparse.Namespace) -> Config:
    """The configuration with what the command line says of it."""
    if getattr(args, "limit", None) is None:
        return config
    return config.model_copy(update={"userqa": config.userqa.model_copy(update={"triplets": args.limit})})


def show_params(args: argparse.Namespace) -> int:
    """Print every knob."""
    from instructue.show import print_params, print_yaml

    path = args.root / "params.yaml"
    config = load_config(path, args.variant)
    if args.yaml:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        print_yaml(with_variant(raw, args.variant) if args.variant else raw)
    else:
        print_params(config)
    return 0


def show_results(args: argparse.Namespace) -> int:
    """Print the table of results."""
    from instructue.show import print_results

    print_results(Paths(args.root.resolve()).evaluation_report.with_suffix(".json"))
    return 0


def show_quarantine(args: argparse.Namespace) -> int:
    """Print what was set aside."""
    from instructue.show import print_quarantine
    from instructue.sources.quarantine import read_quarantine

    if args.rows < 0:
        raise ConfigError(f"--rows {args.rows}: give 0 or more")
    paths = Paths(args.root.resolve())
    found = read_quarantine(paths).chosen(args.source, args.rule)
    print_quarantine(found, paths.validation_report / "index.html", args.rows)
    return 0


def see_doctor(args: argparse.Namespace) -> int:
    """Print all findings; 1 if a required one is not ok."""
    from instructue.doctor import examine

    findings = examine(Paths(args.root.resolve()))
    for finding in findings:
        sign = "ok  " if finding.ok else "FAIL" if finding.required else "warn"
        print(f"{sign} {finding.name}: {finding.detail}")
        if not finding.ok and finding.mend:
            print(f"     mend: {finding.mend}")
    return int(any(f.required and not f.ok for f in findings))


def main(argv: list[str] | None = None) -> int:
    """Parse, do, and turn an error meant for people into one message."""
    telemetry_off()  # before any tool is imported; all of them are imported by the stages
    args = parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    quiet = logging.INFO if speaks() else logging.WARNING
    logging.getLogger("instructue").setLevel(logging.DEBUG if args.verbose else quiet)
    try:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and args.verb != "model":
            raise ConfigError("torchrun started this in several processes; only the model stage can share its work")
        return args.do(args)
    except InstructUEError as error:
        print(f"{args.verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{args.verb}: stopped; nothing half done stays behind, run it again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
