"""Randomness that depends on the iteration alone."""

from mmengine.dist import broadcast_object_list, get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from histomm.datasets.samplers import SeededSampler
from histomm.randomness import seed_everything
from histomm.registry import HOOKS

MODEL, LOADER = 0, 1


@HOOKS.register_module()
class SeedHook(Hook):
    """Makes a killed and resumed run repeat the uninterrupted one.

    Before each training step the global generators are seeded from (``runner.seed``, rank, iteration). What the model
    draws (dropout, RoI sampling, shuffled BN) then depends neither on the loader nor on what ran before, so **no state
    of any generator needs to be in a checkpoint**. After each step they are seeded again, from another stream, for
    transforms of other packages that draw from the global generators in the main process (``num_workers=0``);
    histomm's own transforms do not. Ranks draw differently: what ranks have to share needs a generator of its own,
    made from ``runner.seed``.

    When training starts the seed of a :class:`~histomm.datasets.SeededSampler` is set to ``runner.seed`` (a run
    without a configured seed draws one, and takes the checkpoint's on resume).

    The hook has the lowest priority, so that other hooks' draws change nothing.

    Raises:
        ValueError: the run resumes a checkpoint whose seed is not the configured one.
    """

    priority = 'LOWEST'

    _seed: int | None = None

    def before_run(self, runner: Runner) -> None:
        """Remember the configured seed: resuming replaces ``runner.seed`` by the checkpoint's."""
        self._configured = (runner.cfg.get('randomness') or {}).get('seed')

    def before_train(self, runner: Runner) -> None:
        """Agree on the seed, check it, and hand it to the sampler."""
        shared = [runner.seed]
        broadcast_object_list(shared)
        self._seed = shared[0]
        if self._configured is not None and self._configured != self._seed:
            raise ValueError(
                f'the resumed checkpoint was trained with seed {self._seed}, the config says randomness.seed='
                f'{self._configured}; set randomness.seed={self._seed} to go on with that run, or start a new '
                'one in another work_dir with load_from'
            )
        self._rank = get_rank()
        loader = runner.train_dataloader
        samplers = [loader.sampler, getattr(loader.batch_sampler, 'sampler', None)]
        for sampler in samplers:
            if isinstance(sampler, SeededSampler):
                sampler.seed = self._seed
        runner.logger.info(f'Seed of the run: {self._seed} (model, sampler and augmentation).')

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed for the loading of the first batch."""
        seed_everything(self._seed, self._rank, runner.iter, LOADER)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Seed for the training step."""
        seed_everything(self._seed, self._rank, runner.iter, MODEL)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Seed for the loading of the next batch."""
        seed_everything(self._seed, self._rank, runner.iter + 1, LOADER)

    def after_val(self, runner: Runner) -> None:
        """Seed for the loading of the next batch again, whatever the validation drew."""
        if self._seed is not None:
            seed_everything(self._seed, self._rank, runner.iter, LOADER)
