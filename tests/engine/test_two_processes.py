"""What the hooks do on two gloo processes, started once for all of it."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from distributed import run_two_processes
from engine_toy import ToyImages
from mmengine.structures import BaseDataElement
from torch import nn

from histomm.engine import NonFiniteLossHook, OnlineKNNHook


def knn_features(size):
    """Features and labels that the online kNN computes for so many images."""
    torch.manual_seed(0)
    hook = OnlineKNNHook(dataset={}, batch_size=2)
    hook._data = ToyImages(size=size)
    with torch.no_grad():
        return hook._features(nn.Conv2d(3, 4, 3).eval(), torch.zeros(3, 1, 1), torch.ones(3, 1, 1))


def infinite_on_rank_1(rank, folder):
    """The error that a rank raises when the loss of rank 1 is infinite in the second step."""
    runner = SimpleNamespace(iter=41, epoch=0, seed=7, work_dir=folder)
    batch = dict(data_samples=[BaseDataElement(metainfo=dict(img_path=f'rank{rank}.png'))])
    hook = NonFiniteLossHook()
    hook.after_train_iter(runner, 0, batch, dict(loss=torch.tensor(1.0)))
    try:
        hook.after_train_iter(runner, 0, batch, dict(loss=torch.tensor(1.0 if rank == 0 else float('inf'))))
    except FloatingPointError as error:
        return str(error)


def _rank(rank, folder):
    found = dict(knn=[knn_features(7), knn_features(2), knn_features(1)], error=infinite_on_rank_1(rank, folder))
    torch.save(found, f'{folder}/rank{rank}.pt')


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ranks')
    run_two_processes(_rank, str(folder))
    return folder, [torch.load(folder / f'rank{rank}.pt') for rank in range(2)]


def test_sharing_the_knn_images_changes_nothing(ranks):
    """7 images are not a multiple of 2 ranks; both get all features in the order of one process."""
    expected = [knn_features(7), knn_features(2), knn_features(1)]
    for found in ranks[1]:
        torch.testing.assert_close(found['knn'], expected)
        assert found['knn'][0][1].tolist() == [0, 1, 0, 1, 0, 1, 0]


def test_all_ranks_stop_at_an_infinite_loss(ranks):
    """Both raise, and name the image of the rank that has it."""
    folder, found = ranks
    assert found[0]['error'] == found[1]['error']
    assert found[0]['error'].startswith('iteration 42: loss is inf; the batch of 1 images (rank1.png')
    report = json.loads(Path(folder, 'nonfinite_batch.json').read_text())
    assert report['ranks'] == [dict(rank=1, terms=dict(loss='inf'), files=['rank1.png'])]
