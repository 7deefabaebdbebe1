"""A loss that is not finite stops the run and names the images."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import BaseDataElement

from histomm.engine import NonFiniteLossHook
from histomm.engine.hooks.nonfinite import image_paths


def test_run_stops_with_the_batch(tmp_path, train):
    """Step 6 is the second iteration of the second epoch; its batch is the sampler's."""

    def spoil(runner):
        runner.model.spoil_at = 6

    with pytest.raises(FloatingPointError, match='iteration 6: loss is nan, loss_toy is nan; the batch of 3 images'):
        train(before=spoil, length=3, hooks=[dict(type='histomm.NonFiniteLossHook')])
    report = json.loads((tmp_path / 'run' / 'nonfinite_batch.json').read_text())
    order = torch.randperm(10, generator=torch.Generator().manual_seed(5 * 1_000_003 + 1)).tolist()
    assert report == dict(
        iteration=6,
        epoch=2,
        seed=5,
        ranks=[dict(rank=0, terms=dict(loss='nan', loss_toy='nan'), files=[f'tissue_{i}.png' for i in order[3:6]])],
    )
    assert sorted(path.name for path in (tmp_path / 'run').glob('*.pth')) == ['epoch_1.pth']


def test_stops_before_a_checkpoint_of_the_same_iteration(tmp_path, train):
    def spoil(runner):
        runner.model.spoil_at = 2

    with pytest.raises(FloatingPointError, match='iteration 2'):
        train(before=spoil, by_epoch=False, length=3, hooks=[dict(type='histomm.NonFiniteLossHook')])
    assert [path.name for path in (tmp_path / 'run').glob('*.pth')] == ['iter_1.pth']


def test_paths_of_nested_batches():
    samples = [BaseDataElement(metainfo=dict(img_path=f'{name}.png')) for name in 'abb']
    assert image_paths(dict(inputs=[torch.zeros(2)], data_samples=samples)) == ['a.png', 'b.png']
    assert image_paths((torch.zeros(2), [[samples[0]], samples[1:]])) == ['a.png', 'b.png']
    assert image_paths([BaseDataElement()]) == ['<no img_path>']
    assert image_paths(None) == []


def _rank(rank, folder):
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    runner = SimpleNamespace(iter=41, epoch=0, seed=7, work_dir=folder)
    batch = dict(data_samples=[BaseDataElement(metainfo=dict(img_path=f'rank{rank}.png'))])
    hook = NonFiniteLossHook()
    hook.after_train_iter(runner, 0, batch, dict(loss=torch.tensor(1.0)))
    try:
        hook.after_train_iter(runner, 0, batch, dict(loss=torch.tensor(1.0 if rank == 0 else float('inf'))))
    except FloatingPointError as error:
        Path(folder, f'error{rank}').write_text(str(error))


def test_all_ranks_stop(tmp_path):
    """Two processes; the loss of rank 1 is infinite, both raise and name its image."""
    start = time.monotonic()
    torch.multiprocessing.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    assert time.monotonic() - start < 120
    errors = [(tmp_path / f'error{rank}').read_text() for rank in range(2)]
    assert errors[0] == errors[1]
    assert errors[0].startswith('iteration 42: loss is inf; the batch of 1 images (rank1.png')
    assert json.loads((tmp_path / 'nonfinite_batch.json').read_text())['ranks'] == [
        dict(rank=1, terms=dict(loss='inf'), files=['rank1.png'])
    ]
