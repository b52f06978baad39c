"""The one job: everything, in order; what is up to date is reused."""

import dagster as dg

# Objects only, no selection strings: those break when DVC's dependencies pull in an old antlr.
whole_chain = dg.define_asset_job(
    "whole_chain",
    selection=dg.AssetSelection.all(),
    description="Sources to evaluation. A stage that DVC calls up to date is reused, not run.",
)
