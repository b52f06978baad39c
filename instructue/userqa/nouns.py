"""The nouns of a source in a template: "Will the user have any N?" (N: events, E: one event, A: an attribute)."""

import re

from instructue.sources.spec import DatasetSpec, FactSpec

Nouns = dict[str, str]  # N: a source's events, E: one of them, A: the attribute, all in words


def nouns(event: str, attribute: str = "") -> Nouns:
    """Of a source's event, as its description calls it, and one of its attributes."""
    one = re.sub(r"[{}]", "", event)
    return {"N": plural(one), "E": one, "A": attribute.replace("_", " ")}


def nouns_of(fact: FactSpec, dataset: DatasetSpec) -> Nouns:
    """Those that a fact's templates may hold."""
    return nouns(dataset.source(fact.source).event, fact.attribute or "")


def plural(noun: str) -> str:
    """'purchase of an item' -> 'purchases of an item', 'search query' -> 'search queries'."""
    head, *rest = re.split(r"(?= (?:of|to|from|in|at|on|with|for|by) )", noun, maxsplit=1)
    if re.search(r"[^aeiou]y$", head):
        head = head[:-1] + "ies"
    else:
        head += "es" if re.search(r"(s|x|z|ch|sh)$", head) else "s"
    return head + "".join(rest)


def filled_in(pattern: str, by: Nouns) -> str:
    """'Will there be any N?' with the nouns in place of the letters."""
    return re.sub(r"\b[NEA]\b", lambda letter: by[letter[0]], pattern)


def pattern_of(text: str, of: Nouns) -> str:
    """The reverse of filled_in; a slot as {value} is no noun, whatever an attribute is called."""
    letters = {word: letter for letter, word in reversed(of.items()) if word}
    words = "|".join(re.escape(word) for word in sorted(letters, key=len, reverse=True))
    return re.sub(rf"(?<![{{\w])(?:{words})(?![}}\w])", lambda found: letters[found[0]], text)
