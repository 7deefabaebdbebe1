"""DINO on grids of tokens: the settings of the second stage of HIPT, and a killed and resumed run."""

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from region_stores import draw_tokens, token_options
from small_runs import REPO, small_config

from histomm.engine import latest_good_checkpoint
from histomm.engine.launch import build_runner
from histomm.models import DINONeck, RegionViT

TINY = REPO / 'configs/hipt/dino_vit4k-tiny_regions.py'


def test_the_settings_are_those_of_the_second_stage():
    cfg = Config.fromfile(str(REPO / 'configs/hipt/dino_vit4k-xs_regions.py'))
    model, loader = cfg.model, cfg.train_dataloader
    with torch.device('meta'):
        backbone = RegionViT(**{key: value for key, value in model.backbone.items() if key != 'type'})
        head = DINONeck(**{key: value for key, value in model.neck.items() if key != 'type'})
    assert sum(p.numel() for p in backbone.parameters()) == 2_781_504
    assert sum(p.numel() for p in head.parameters()) == 21_893_376
    assert model.backbone.drop_path_rate == 0.1
    assert (model.student_temp, model.teacher_temp, model.get('warmup_teacher_epochs', 0)) == (0.1, 0.04, 0)
    assert (model.center_momentum, model.momentum, model.end_momentum, model.num_large) == (0.9, 0.996, 1.0, 2)
    (multiview, pack) = loader.dataset.pipeline
    assert [
        (view.num, [dict(step) for step in view.pipeline]) for view in multiview['views']
    ] == [
        (num, [dict(type='histomm.TokenCrop', size=size), dict(type='histomm.TokenFlip', prob=0.5)])
        for num, size in ((2, 14), (8, 6))
    ]  # fmt: skip
    assert pack.type == 'histomm.PackTokens'
    assert (loader.batch_size, cfg.auto_scale_lr.base_batch_size, cfg.train_cfg.max_epochs) == (256, 256, 100)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 5e-4, 0.04)
    warmup, cosine, decay = cfg.param_scheduler
    assert (warmup.end, cosine.begin, cosine.end, cosine.eta_min) == (10, 10, 100, 1e-6)
    assert decay.eta_min_ratio * optimizer.weight_decay == pytest.approx(0.4)
    hooks = cfg.default_hooks
    assert (hooks.clip.max_norm, hooks.frozen.module, hooks.frozen.epochs) == (3.0, 'neck.last_layer', 1)


class _StopAt(Hook):
    """Stands for a kill: raises before the given iteration."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            raise KeyboardInterrupt


def run(folder, store, *hooks, **options):
    """Three epochs of two steps."""
    cfg = small_config(TINY, folder, token_options(store, batch_size=2, epochs=3))
    cfg.merge_from_dict({'model.backbone.drop_path_rate': 0.3, **options})
    runner = build_runner(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    store = draw_tokens(tmp_path, 96, slides=2, regions=2)
    run(tmp_path / 'whole', store)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / 'killed', store, _StopAt(3))
    checkpoint = latest_good_checkpoint(tmp_path / 'killed')
    assert checkpoint.endswith('epoch_1.pth')
    torch.manual_seed(99)
    run(tmp_path / 'killed', store, resume=True, load_from=checkpoint)
    whole, killed = (
        torch.load(latest_good_checkpoint(tmp_path / name), weights_only=False) for name in ('whole', 'killed')
    )
    for part in ('state_dict', 'optimizer'):
        torch.testing.assert_close(whole[part], killed[part], rtol=0, atol=0)
    assert int(whole['state_dict']['teacher.steps']) == 6


def test_tokens_of_another_encoder_stop_the_run_at_its_begin(tmp_path):
    store = draw_tokens(tmp_path, 6, slides=2, regions=2)
    with pytest.raises(ValueError, match='tokens have 6 numbers, expected 96; extract them with the encoder'):
        run(tmp_path / 'run', store)
