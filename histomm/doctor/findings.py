"""What the checks write into: rows of facts, and findings with what to do about them."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """One line about something that is not as it should be.

    Attributes:
        where: The part, file or config field.
        what: What was found, and what was expected.
        todo: What to do about it.
        fault: Whether a run would go wrong; otherwise it is only worth knowing.
    """

    where: str
    what: str
    todo: str
    fault: bool = True

    def line(self) -> str:
        """The finding in one line."""
        text = f'{"FAULT " if self.fault else "notice"}  {self.where}: {self.what}; {self.todo}'
        return ' '.join(text.splitlines())


@dataclass
class Report:
    """Facts and findings in the order in which they were made."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def row(self, name: str, value: object) -> None:
        """Add a fact to the table."""
        self.rows.append((name, str(value)))

    def fault(self, where: str, what: str, todo: str) -> None:
        """Add a fault."""
        self.findings.append(Finding(where, what, todo))

    def notice(self, where: str, what: str, todo: str) -> None:
        """Add a notice."""
        self.findings.append(Finding(where, what, todo, fault=False))

    @property
    def faults(self) -> list[Finding]:
        """The findings that are faults."""
        return [finding for finding in self.findings if finding.fault]

    def text(self) -> str:
        """The table, one line a finding, and the verdict."""
        width = max((len(name) for name, _ in self.rows), default=0)
        lines = [f'{name:{width}}  {value}' for name, value in self.rows]
        lines += [finding.line() for finding in sorted(self.findings, key=lambda finding: finding.fault)]
        count = len(self.faults)
        return '\n'.join([*lines, f'{count} fault{"s" if count > 1 else ""}' if count else 'no faults'])
