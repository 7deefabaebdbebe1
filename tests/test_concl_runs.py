"""ConCL's shipped configs in real runs: the switch-on of concepts, and a killed and resumed run."""

import json

import pytest
import torch
from mmengine.hooks import Hook
from small_runs import REPO, draw_patches, pretraining_options, small_config

from histomm.engine import latest_good_checkpoint
from histomm.engine.launch import build_runner


class _StopAt(Hook):
    """Stands for a kill: raises before the given iteration."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            raise KeyboardInterrupt


def run(folder, patches, epochs=3, stop=None, **options):
    small = pretraining_options(patches, batch_size=2, epochs=epochs, samples=4) | {'default_hooks.knn': None}
    cfg = small_config(REPO / 'configs/plm/concl_plm_r18_nct.py', folder, small)
    cfg.merge_from_dict({'model.start_epoch': 2, **options})
    runner = build_runner(cfg)
    if stop is not None:
        runner.register_hook(_StopAt(stop))
    runner.train()
    return runner


def test_concepts_start_with_their_epoch_and_resume_bit_by_bit(tmp_path):
    patches = draw_patches(tmp_path)
    run(tmp_path / 'whole', patches)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / 'killed', patches, stop=5)  # in the middle of the first epoch with concepts
    checkpoint = latest_good_checkpoint(tmp_path / 'killed')
    assert checkpoint.endswith('epoch_2.pth')
    torch.manual_seed(99)  # what is left in the global generators does not matter
    run(tmp_path / 'killed', patches, resume=True, load_from=checkpoint)
    states = [
        torch.load(latest_good_checkpoint(tmp_path / name), weights_only=False)['state_dict']
        for name in ('whole', 'killed')
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert int(states[0]['concept_queue.pointer']) == 2 * 2 * 8
    assert int(states[0]['queue.pointer']) == 6 * 2
    (scalars,) = (tmp_path / 'whole').rglob('scalars.json')
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    with_concepts = [line['epoch'] for line in lines if 'loss_concept' in line]
    assert with_concepts == [3, 3]  # the log counts epochs from 1
    assert all(line['loss_dense'] > 0 for line in lines)


def test_a_run_shorter_than_the_start_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'start after 2 epochs, found a run of 1 .*model\.start_epoch'):
        run(tmp_path / 'short', draw_patches(tmp_path), epochs=1)
