"""One command for a paper's table: recipe, plan of stages, runner, report.

A recipe (``configs/reproduce/*.yaml``) names the stages that lead to each cell of a table, with the published figures.
:mod:`.recipe` reads it, :mod:`.plan` fills in rows, columns and seeds, :mod:`.check` holds the plan against the configs
and the data, :mod:`.record` knows what is finished, :mod:`.commands` has the command lines, :mod:`.runner` runs what is
left in :mod:`.processes`, :mod:`.table` shows the figures. :mod:`.drawings` has the pictures beside them.
"""

from .check import check_data, check_plan
from .commands import Commands, Launch, script
from .drawings import with_pictures
from .plan import Plan, Run, make_plan
from .recipe import Recipe, RecipeError, read_recipe
from .record import Records
from .runner import StageFailed, run_plan
from .table import write_report

__all__ = [
    'Commands',
    'Launch',
    'Plan',
    'Recipe',
    'RecipeError',
    'Records',
    'Run',
    'StageFailed',
    'check_data',
    'check_plan',
    'make_plan',
    'read_recipe',
    'run_plan',
    'script',
    'with_pictures',
    'write_report',
]
