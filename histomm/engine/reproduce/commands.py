"""The command line of each run, as one types it in the repository."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .check import merged_config
from .plan import ROOT, WORK, Plan, Run
from .recipe import RecipeError
from .record import Records

LAUNCHERS = ('none', 'pytorch', 'slurm')


@dataclass(frozen=True)
class Launch:
    """How stages are started.

    Attributes:
        launcher: One of :data:`LAUNCHERS`, for trainings and tests.
        gpus: Processes of each training and test, with ``pytorch`` and ``slurm``. The batch is shared out among them.
        partition: Of Slurm.
        jobs: Stages side by side.
        keep_going: Go on with what does not need a stage that failed.
    """

    launcher: str = 'none'
    gpus: int = 1
    partition: str = ''
    jobs: int = 1
    keep_going: bool = False


@dataclass(frozen=True)
class Command:
    """What is typed in the repository.

    Attributes:
        argv: Program and arguments.
        env: Variables before it.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The line, quoted for a shell."""
        return ' '.join([*(f'{name}={shlex.quote(value)}' for name, value in self.env.items()), shlex.join(self.argv)])


class Commands:
    """Command lines of the runs of a plan.

    Args:
        repo: Where configs and tools lie; commands are for this folder.
        root: Folder of the data.
        work: Folder of the results.
        launch: How to start.
    """

    def __init__(self, repo: Path, root: Path, work: Path, launch: Launch) -> None:
        self.repo, self.launch = repo, launch
        self.places = {ROOT: self._shown(root), WORK: self._shown(work)}

    def _shown(self, path: Path) -> str:
        path = path.absolute()
        return str(path.relative_to(self.repo)) if path.is_relative_to(self.repo) else str(path)

    def _fill(self, text: str) -> str:
        for name, place in self.places.items():
            text = text.replace(name, place)
        return text

    def of(self, run: Run) -> Command:
        """The command of a run."""
        if run.kind == 'command':
            return Command(('python', run.target, *map(self._fill, run.args)))
        options = {key: self._fill(value) for key, value in run.options.items()}
        if self.launch.gpus > 1 and run.kind == 'train':
            options['train_dataloader.batch_size'] = str(self._share(run))
        options = [f'{key}={value}' for key, value in options.items()]
        work, rest = self._fill(run.out), ['--cfg-options', *options] if options else []
        return self._test(run, work, rest) if run.kind == 'test' else self._train(run, work, ['--resume', *rest])

    def _train(self, run: Run, work: str, rest: list[str]) -> Command:
        gpus = self.launch.gpus
        if self.launch.launcher == 'pytorch':
            return Command(('bash', 'tools/dist_train.sh', run.target, str(gpus), '--work-dir', work, *rest))
        if self.launch.launcher == 'slurm':
            place = self.launch.partition, run.folder.replace('/', '_'), run.target, work
            return Command(('bash', 'tools/slurm_train.sh', *place, *rest), self._gpus())
        return Command(('python', 'tools/train.py', run.target, '--work-dir', work, *rest))

    def _test(self, run: Run, work: str, rest: list[str]) -> Command:
        checkpoint = self._fill(run.args[0])
        if self.launch.launcher == 'pytorch':
            processes = str(self.launch.gpus)
            return Command(('bash', 'tools/dist_test.sh', run.target, checkpoint, processes, '--work-dir', work, *rest))
        test = 'python', 'tools/test.py', run.target, checkpoint, '--work-dir', work, *rest
        if self.launch.launcher == 'slurm':
            return Command(('srun', '-p', self.launch.partition, '--gres=gpu:1', '--ntasks=1', *test))
        return Command(test)

    def _gpus(self) -> dict[str, str]:
        return {'GPUS': str(self.launch.gpus), 'GPUS_PER_NODE': str(min(8, self.launch.gpus))}

    def _share(self, run: Run) -> int:
        batch = merged_config(run, self.repo).train_dataloader.batch_size
        if batch % self.launch.gpus:
            raise RecipeError(
                f'{run.target}: the batch of {batch} cannot be shared out among --gpus {self.launch.gpus}; '
                'choose a number that divides it'
            )
        return batch // self.launch.gpus


def script(plan: Plan, records: Records, commands: Commands) -> str:
    """All commands of a plan as a shell script, with what is known of each."""
    lines = ['# All stages in order, to be typed or sourced in the folder of the repository.']
    for run in plan.runs.values():
        lines += ['', f'# {run.folder}: {records.state(run)}', commands.of(run).text()]
    return '\n'.join(lines) + '\n'
