"""Runs of a recipe in this process, which spares the seconds that each stage takes to start."""

from pathlib import Path

from tool_modules import REPO, load_tool

from histomm.engine.reproduce import Commands, Launch, check_plan
from histomm.engine.reproduce.plan import Plan


def run_stages(plan: Plan, work: Path) -> dict[str, object]:
    """Run all stages in order, by the commands that the tool would start.

    Returns:
        What each returned, by folder; of a test its metrics.
    """
    check_plan(plan, REPO, work / 'data', work)
    commands, found = Commands(REPO, work / 'data', work, Launch()), {}
    for folder, run in plan.runs.items():
        _, script, *arguments = commands.of(run).argv
        found[folder] = load_tool(script).main(arguments)
    return found
