"""The model card: what the bundle is, from what data, by which training, how good and where not, how to load it."""

from typing import Any

from instructue.api.origin import Origin
from instructue.evaluation.report import names, verdict
from instructue.evaluation.report.tables import cell_text, main_tables
from instructue.evaluation.results import MACRO, Results
from instructue.training.tracking import flat

UNASKED = "unseen_attributes"


def card(
    origin: Origin,
    settings: dict[str, Any],
    parameters: tuple[int, int],
    results: Results | None,
    note: str,
    with_base_models: bool,
) -> str:
    """README.md of a bundle; `note` says why there are no results, where there are none."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("instructue.api", "."), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"metric_of": names.metric_title}
    environment.filters["quoted"] = _quoted
    learnt, frozen = parameters
    view = {
        "dataset": origin.dataset,
        "settings": settings,
        "base_models": settings["bundle"]["base_models"],
        "licences": settings["bundle"]["licences"],
        "knobs": flat({"network": settings["network"], "training": settings["training"]}),
        "learnt": f"{learnt:,}",
        "frozen": f"{frozen:,}",
        "results": results,
        "note": note,
        "sentences": verdict.verdict(results) if results else [],
        "tables": main_tables(results) if results else [],
        "losses": [pair for pair in verdict.losses(results) if pair.headline] if results else [],
        "unasked": [study for study in results.studies if study.name == UNASKED] if results else [],
        "names": names,
        "cell_text": cell_text,
        "with_base_models": with_base_models,
    }
    return environment.get_template("card.md.j2").render(view).rstrip() + "\n"


def _quoted(pair: verdict.Judged) -> str:
    place = f"on average over {pair.family}" if pair.task == MACRO else ""
    return verdict.quote(pair, name_baseline=True, place=place)
