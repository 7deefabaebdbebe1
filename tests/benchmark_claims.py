"""What ``tools/benchmarks/run_all.py`` reads from a benchmark is what the benchmark writes."""

import json
from pathlib import Path

from tool_modules import load_tool


def require_claims(name: str, written: Path) -> None:
    """Fail unless the figures that the benchmark ``name`` wrote as JSON hold all that is claimed of it."""
    figures = json.loads(written.read_text(encoding='utf-8'))['results']
    table = load_tool('tools/benchmarks/_claims.py').TABLE
    keys = {key for claim in table[name].claims for key in (claim.ratio, claim.plain, claim.own) if key}
    assert keys <= set(figures), f'{name} writes {sorted(figures)}'
