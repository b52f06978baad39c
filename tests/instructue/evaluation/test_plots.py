"""The colours of page and plots: readable in light and dark, and each with its variable in both."""

import re
from pathlib import Path

from instructue.evaluation import plots

CSS = Path(plots.__file__).with_name("report.css.j2").read_text()
THEMES = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", CSS, flags=re.S)]


def test_every_stand_in_has_its_own_colour_and_a_variable_in_both_themes():
    assert len(THEMES) == 2 and all(set(plots.COLOURS) <= set(theme) for theme in THEMES)
    assert len(set(plots.COLOURS.values())) == len(plots.COLOURS), "two stand-ins alike would become one variable"


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_colours_have_contrast_in_light_and_dark():
    """WCAG 2 AA, 4.5 to 1, against every background that text stands on."""
    for theme in THEMES:
        for ink in ("ink", "muted", "accent", "ahead", "behind", "undecided", *(f"s{i}" for i in range(6))):
            for paper in ("paper", "card", *(["ours"] if ink in ("ink", "muted", "accent") else [])):
                light, dark = sorted((_luminance(theme[ink]), _luminance(theme[paper])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, paper)
