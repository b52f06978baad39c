"""Other wordings of a task's instruction: those that its description gives, then templates that keep the meaning."""

import re

from instructue.evaluation.tasks import TaskSpec

# A form to recognise, and other ways to ask the same; {q} is the whole question.
YES_NO = re.compile(r"(?P<verb>Will|Is|Are|Does|Do|Has|Have|Can) (?P<who>(?:the|this) \w+) (?P<rest>.+)\?")
WHICH = re.compile(r"Which (?P<what>.+?) (?P<verb>will|does|do) (?P<who>(?:the|this) \w+) (?P<rest>.+)\?")
FORMS: dict[re.Pattern[str], tuple[str, ...]] = {
    YES_NO: (
        "Tell me whether {who} {verb} {rest}.",
        "Is it likely that {who} {verb} {rest}?",
        "Should we expect that {who} {verb} {rest}?",
        "How likely is it that {who} {verb} {rest}?",
    ),
    WHICH: (
        "Tell me which {what} {who} {verb} {rest}.",
        "Name the {what} that {who} {verb} {rest}.",
        "What are the {what} that {who} {verb} {rest}?",
        "List the {what} which {who} {verb} {rest}.",
    ),
}
ANY = (
    "Please answer this: {q}",
    "A question about this customer: {q}",
    "What would you say: {q}",
    "We would like to know: {q}",
)


def plain(task: TaskSpec) -> bool:
    """Whether its instruction is the same for everybody, and asked of whole histories."""
    return not task.hides and not re.search(r"\{(?!who\})\w+\}", task.instruction)


def wordings(task: TaskSpec, who: str, count: int) -> list[str]:
    """The task's instruction, then up to `count` other wordings of it, all distinct."""
    question = task.instruction.replace("{who}", who)
    given = [text.replace("{who}", who) for text in getattr(task, "paraphrases", None) or []]
    return list(dict.fromkeys([question, *given, *_templated(question)]))[: count + 1]


def _templated(question: str) -> list[str]:
    for form, templates in FORMS.items():
        if found := form.fullmatch(question):
            parts = found.groupdict() | {"verb": found["verb"].lower()}
            return [t.format(**parts) for t in (*templates, *ANY) if "{q}" not in t] + _asked(question)
    return _asked(question)


def _asked(question: str) -> list[str]:
    return [template.format(q=question) for template in ANY]
