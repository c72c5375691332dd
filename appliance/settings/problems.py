"""What is wrong with settings somebody wants to save: one problem for each field or line."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """*field* is the setting's dotted name, such as ``verification.domains``; *line* counts a list's lines from 1."""

    field: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.field}, line {self.line}" if self.line is not None else self.field
        return f"{place}: {self.message}"


class InvalidSettings(Exception):
    """Nothing was saved; *problems* says why, in the order of the document."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems
