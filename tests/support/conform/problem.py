"""What a judge of conformance says: which clause is broken, where, and how.

A judge has a table of rules: the slug of each and the clause that it stands for. Nothing else can
be reported, so the table says all that a judge looks at, and a test asks for a broken sample of
every slug in it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MOST = 20  # problems of one rule that are kept; a broken stream breaks it at every packet


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken rule at one place."""

    rule: str  # the clause and the slug: "ISO/IEC 13818-1 2.4.3.3 continuity"
    where: str
    text: str

    @property
    def slug(self) -> str:
        """The rule's short name."""
        return self.rule.rpartition(" ")[2]

    def __str__(self) -> str:
        return f"{self.rule}: {self.where}: {self.text}"


class Findings:
    """Collects the problems of one judge."""

    def __init__(self, rules: Mapping[str, str]) -> None:
        self._rules = rules
        self._counts: Counter[str] = Counter()
        self.problems: list[Problem] = []

    def add(self, slug: str, where: str, text: str = "") -> None:
        """Note that a rule is broken at `where`; `slug` is one of the table's."""
        clause = self._rules[slug]
        self._counts[slug] += 1
        if self._counts[slug] <= MOST:
            self.problems.append(Problem(f"{clause} {slug}", where, text))

    def has(self, slug: str) -> bool:
        """Whether this rule was broken anywhere."""
        return slug in self._counts


def slugs(problems: Iterable[Problem]) -> list[str]:
    """The short names of the broken rules, each once, in the order in which they came up."""
    return list(dict.fromkeys(problem.slug for problem in problems))


def told(problems: Iterable[Problem]) -> str:
    """The problems as lines, for people."""
    return "\n".join(str(problem) for problem in problems)
