"""A loss that is not finite stops the run and names the images."""

import json

import pytest
import torch
from mmengine.structures import BaseDataElement

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
