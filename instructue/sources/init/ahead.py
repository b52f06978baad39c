"""How far a proposal's tasks and questions look ahead: as far as enough users come back, and no further."""

from dataclasses import dataclass
from datetime import date, timedelta

import duckdb

from instructue.errors import DataError
from instructue.sources.init.guess import Source
from instructue.sources.readers import Reader

FOUR_WEEKS = 28
LONGER = (91, 182, 365)  # tried where too few come back within four weeks
SHARE = 5  # labels take a fifth of the time at most
ENOUGH = 50  # users with an event and without, from which on a probe has something to learn
EVENTS = 10  # before the snapshot, as histories.min_events has it


@dataclass(frozen=True)
class Ahead:
    """The first day of the events and the day after the last; days that tasks look ahead; of the users with enough
    history at the snapshot that this means, how many have an event in those days."""

    start: date
    end: date
    days: int
    coming: int = 0
    users: int = 0

    @property
    def most(self) -> int:
        """The longest that labels may take."""
        return max(1, (self.end - self.start).days // SHARE)

    @property
    def labels(self) -> int:
        return max(self.days, min(92, self.most))

    @property
    def horizon(self) -> int:
        return max(self.days, min(91, self.labels))

    @property
    def snapshot(self) -> date:
        return self.end - timedelta(days=self.labels)

    @property
    def every(self) -> int:
        """Days between training snapshots."""
        return max(1, min(max(FOUR_WEEKS, self.days // 2), (self.end - self.start).days // 14))

    @property
    def words(self) -> str:
        if self.days % 365 == 0:
            return "a year"
        weeks, rest = divmod(self.days, 7)
        return (f"{self.days} day" if rest else f"{weeks} week") + "s" * ((self.days if rest else weeks) != 1)

    @property
    def enough(self) -> bool:
        return min(self.coming, self.users - self.coming) >= ENOUGH

    def counted(self, one: str) -> str:
        """What a person should know before judging anything by it."""
        said = (
            f"At {self.snapshot}, of {self.users:,} users with {EVENTS} events or more before it {self.coming:,} have "
            f"{one} within {self.words}."
        )
        more = "too few, or too few others, to judge by. Take an earlier evaluation snapshot, or another task."
        return said if self.enough else f"CHECK: {said} That is {more}"


def look_ahead(reader: Reader, sources: list[Source]) -> Ahead:
    """Four weeks, if the data has them, or longer where too few users of the first source come back in that time.

    Raises DataError if the times cannot be read as guessed, or if there are none.
    """
    days = []
    for source in sources:
        found = _asked(reader, source, "select min(time)::date, max(time)::date from looked_at")
        days += [d for d in found if d is not None]
    if not days:
        raise DataError("no event has a time")
    start, end = min(days), max(days) + timedelta(days=1)
    most = Ahead(start, end, 1).most
    tried: list[Ahead] = []
    for n in (n for n in (min(FOUR_WEEKS, most), *LONGER) if n <= most):
        tried.append(_counted(reader, sources[0], start, end, n))
        if tried[-1].enough:
            return tried[-1]
    return max(tried, key=lambda found: min(found.coming, found.users - found.coming))


def _counted(reader: Reader, source: Source, start: date, end: date, days: int) -> Ahead:
    snapshot = Ahead(start, end, days).snapshot
    query = f"""
        select count(*), count(*) filter (after > 0) from (
          select count(*) filter (time < timestamp '{snapshot}') as before,
                 count(*) filter (time >= timestamp '{snapshot}'
                                  and time < timestamp '{snapshot + timedelta(days=days)}') as after
          from looked_at group by u)
        where before >= {EVENTS}"""
    users, coming = _asked(reader, source, query)
    return Ahead(start, end, days, coming, users)


def _asked(reader: Reader, source: Source, query: str) -> tuple:
    """First row of a query on the source's events, `looked_at`, whose user is called u."""
    try:
        return reader.one(f"with looked_at as ({source.query.replace('{user}', 'u')}) {query}")
    except duckdb.Error as error:
        raise DataError(f"table {source.table.name!r}: its times cannot be read as guessed: {error}") from error
