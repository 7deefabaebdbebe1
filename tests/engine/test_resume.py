"""A run that is killed and resumed ends like the uninterrupted one, bit by bit."""

import pytest
import torch
from engine_toy import toy_config
from mmengine.runner import Runner

from histomm.engine import latest_good_checkpoint


def assert_same_end(folder, other):
    """Weights, buffers, optimizer and schedules of the last checkpoints of two runs are equal to the bit."""
    a, b = (torch.load(latest_good_checkpoint(path), weights_only=False) for path in (folder, other))
    for part in ('state_dict', 'optimizer'):
        torch.testing.assert_close(a[part], b[part], rtol=0, atol=0)
    assert a['param_schedulers'] == b['param_schedulers']
    assert (a['meta']['epoch'], a['meta']['iter']) == (b['meta']['epoch'], b['meta']['iter'])


# Iteration 6 is in the middle of the second pass of 4 iterations over the data.
RUNS = [dict(by_epoch=True, length=3), dict(by_epoch=False, length=9, checkpoint=dict(interval=5))]


@pytest.mark.parametrize('options', RUNS, ids=['by_epoch', 'by_iter'])
@pytest.mark.parametrize('workers', [0, 2])
def test_killed_and_resumed_equals_uninterrupted(train, tmp_path, options, workers):
    whole = train('whole', **options)
    with pytest.raises(KeyboardInterrupt):
        train('killed', **options, workers=workers, hooks=[dict(type='StopAt', iteration=7)])
    checkpoint = latest_good_checkpoint(tmp_path / 'killed')
    assert checkpoint.endswith('epoch_1.pth' if options['by_epoch'] else 'iter_5.pth')
    torch.manual_seed(99)  # what is left in the global generators does not matter
    resumed = train('killed', **options, workers=workers, resume=True, load_from=checkpoint)
    assert resumed.iter == whole.iter
    assert_same_end(tmp_path / 'killed', tmp_path / 'whole')


@pytest.mark.parametrize('options', RUNS, ids=['by_epoch', 'by_iter'])
def test_transforms_that_draw_globally_resume_too(train, tmp_path, options):
    """With num_workers=0 a draw from numpy's global generator repeats as well."""
    options = options | dict(global_draw=True)
    train('whole', **options)
    with pytest.raises(KeyboardInterrupt):
        train('killed', **options, hooks=[dict(type='StopAt', iteration=7)])
    train('killed', **options, resume=True, load_from=latest_good_checkpoint(tmp_path / 'killed'))
    assert_same_end(tmp_path / 'killed', tmp_path / 'whole')


def test_runs_differ_by_seed(train):
    weights = [train(str(seed), seed=seed, length=1).model.state_dict() for seed in (1, 2)]
    assert not torch.equal(weights[0]['head.weight'], weights[1]['head.weight'])


def test_draws_differ_by_iteration(train):
    seen = []
    train(
        length=1,
        before=lambda runner: runner.model.dropout.register_forward_hook(lambda *_: seen.append(torch.rand(1).item())),
    )
    assert len(set(seen)) == len(seen) == 4


def test_seed_of_another_run_is_refused(train, tmp_path):
    train(seed=5, length=1)
    with pytest.raises(ValueError, match=r'trained with seed 5, the config says randomness\.seed=6'):
        train(seed=6, length=2, resume=True, load_from=latest_good_checkpoint(tmp_path / 'run'))
    # Weights alone may come from a run of any seed.
    train('other', seed=6, length=1, load_from=latest_good_checkpoint(tmp_path / 'run'))


def test_drawn_seed_is_taken_from_the_checkpoint(train, tmp_path):
    first = train(seed=None, length=1)
    second = train(seed=None, length=2, resume=True, load_from=latest_good_checkpoint(tmp_path / 'run'))
    assert second.seed == second.train_dataloader.sampler.seed == first.seed


def test_hooks_build_by_scope_alone(repo):
    """A config of any package can name them: nothing of histomm is imported before."""
    import subprocess
    import sys

    code = (
        'from mmengine.registry import HOOKS\n'
        "for name in 'AtomicCheckpoint Seed NonFiniteLoss DataWait FeatureMonitor'.split():\n"
        "    print(type(HOOKS.build(dict(type=f'histomm.{name}Hook'))).__name__)\n"
        'import sys\n'
        "assert not {'mmdet', 'mmcv.ops', 'mmseg'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=repo, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 5


def test_toy_config_dumps(tmp_path):
    """The hooks' configs are plain data, so a run can be dumped and built again."""
    cfg = toy_config(tmp_path)
    assert Runner.from_cfg(cfg).cfg.pretty_text
