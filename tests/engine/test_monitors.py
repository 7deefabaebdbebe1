"""Monitors measure what they say and leave the training alone."""

import contextlib
import logging
import random
import time

import cv2
import numpy as np
import pytest
import torch
from engine_toy import ToyImages
from torch import nn

from histomm.engine.hooks.data_wait import DataWaitHook
from histomm.engine.hooks.feature_monitor import FeatureMonitorHook
from histomm.engine.hooks.features import pool_features
from histomm.engine.hooks.online_knn import evaluating
from histomm.evaluation import feature_std, rankme
from histomm.randomness import preserved_randomness, seed_everything

KNN = dict(type='histomm.OnlineKNNHook', dataset=dict(type='ToyImages', size=30), k=3, batch_size=7)
MONITORS = [
    dict(type='histomm.DataWaitHook', window=2),
    dict(type='histomm.FeatureMonitorHook', interval=2, num_samples=5),
    KNN | dict(by_epoch=False, interval=3, num_workers=1),
]


def history(runner, name):
    return runner.message_hub.get_scalar(f'train/{name}').data[0].tolist()


def draw():
    return torch.rand(1).item(), np.random.rand(), random.random()


@pytest.mark.parametrize('seed_hook', [True, False])
def test_weights_are_equal_with_and_without_monitors(train, seed_hook, monkeypatch):
    """To the bit, whether or not the generators are seeded again at each step."""
    if not seed_hook:
        monkeypatch.setattr('histomm.engine.hooks.seed.seed_everything', lambda *key: None)
    ends = []
    for name, hooks in (('with', MONITORS), ('without', [])):
        seed_everything(3)
        ends.append(train(name, hooks=hooks).model.state_dict())
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=0)


def test_console_and_files_show_the_scalars(train, tmp_path):
    runner = train(hooks=MONITORS)
    written = ''.join(path.read_text() for path in (tmp_path / 'run').rglob('scalars.json'))
    for name in ('data_wait', 'feature_std', 'rankme', 'knn_top1'):
        assert f'"{name}"' in written
    line = runner.log_processor.get_log_after_iter(runner, 0, 'train')[1]
    assert all(f'{name}: ' in line for name in ('eta', 'data_wait', 'feature_std', 'rankme', 'knn_top1'))


class TestDataWait:
    def test_share(self, train):
        """20 ms of loading and 60 ms of step: a quarter; what other hooks take is part of the step."""
        hook = DataWaitHook(window=3)
        found = []

        class Hub:
            @staticmethod
            def update_scalar(name, value):
                found.append((name, value))

        runner = type('Runner', (), dict(message_hub=Hub))
        hook.before_train_epoch(runner)
        for _ in range(4):
            time.sleep(0.02)
            hook.before_train_iter(runner, 0)
            time.sleep(0.06)
            hook.after_train_iter(runner, 0)
        assert [name for name, _ in found] == ['train/data_wait'] * 3
        assert found[-1][1] == pytest.approx(25, abs=8)

    def test_validation_is_no_wait(self):
        hook = DataWaitHook()
        hook.before_train_epoch(None)
        time.sleep(0.05)
        hook.after_val(None)
        hook.before_train_iter(type('Runner', (), dict(message_hub=None)), 0)
        assert hook._clock.wait < 0.02

    def test_window_is_checked(self):
        with pytest.raises(ValueError, match='window is 0'):
            DataWaitHook(window=0)


class TestFeatureMonitor:
    def test_measures_the_last_samples(self, train):
        """4 iterations of 3, 3, 3 and 1 images: the last 5 samples at iteration 4, 6 - 1 at iteration 2."""
        seen = []

        def keep(runner):
            runner.model.backbone.register_forward_hook(lambda m, a, out: seen.append(out.detach().mean((2, 3))))

        runner = train(length=1, before=keep, hooks=MONITORS[1:2])
        windows = [torch.cat(seen[:2])[-5:], torch.cat(seen)[-5:]]
        assert history(runner, 'feature_std') == pytest.approx([feature_std(x) for x in windows], rel=1e-5)
        assert history(runner, 'rankme') == pytest.approx([rankme(x) for x in windows], rel=1e-5)
        assert not runner.model.backbone._forward_hooks.keys() - {min(runner.model.backbone._forward_hooks)}

    def test_first_call_of_a_step_counts(self):
        hook = FeatureMonitorHook(num_samples=4)
        hook.before_train_iter(None, 0)
        hook._capture(None, (), torch.full((2, 3), 1.0))
        hook._capture(None, (), torch.full((2, 3), 2.0))
        assert hook._seen == 2
        assert hook._buffer[:2].tolist() == [[1.0] * 3] * 2

    @pytest.mark.parametrize('batches', [[3, 3, 3], [4], [9], [1, 4, 2]])
    def test_ring_holds_the_last_rows(self, batches):
        hook, rows = FeatureMonitorHook(num_samples=4), torch.arange(9.0).view(9, 1)
        for batch in rows[: sum(batches)].split(batches):
            hook.before_train_iter(None, 0)
            hook._capture(None, (), batch)
        kept = rows[: sum(batches)][-4:] if len(batches) > 1 else rows[:4]  # of one batch its beginning
        assert sorted(hook._buffer.flatten().tolist()) == kept.flatten().tolist()

    def test_collapse_is_said_once_until_recovery(self, train, caplog):
        """Features are one constant in iterations 3 to 6 and from 9 on."""
        logs = []

        def collapse(runner):
            def constant(module, args, out):
                return torch.ones_like(out) if runner.iter + 1 in (3, 4, 5, 6, 9, 10, 11, 12) else out

            runner.model.backbone.register_forward_hook(constant)
            handler = logging.Handler()
            handler.emit = lambda record: logs.append(record.getMessage())
            runner.logger.addHandler(handler)

        hook = dict(type='histomm.FeatureMonitorHook', interval=1, num_samples=3, min_std=1e-3, min_rankme=1.0)
        train(before=collapse, hooks=[hook], by_epoch=False, length=12)
        warned = [line for line in logs if 'features collapse' in line]
        assert [line.split('iteration ')[1].split(':')[0] for line in warned] == ['3', '9']
        assert 'over 3 samples feature_std is 0.0000 (warned below 0.001)' in warned[0]

    def test_low_rank_warns_too(self, train):
        logs = []

        def listen(runner):
            handler = logging.Handler()
            handler.emit = lambda record: logs.append(record.getMessage())
            runner.logger.addHandler(handler)

        hook = dict(type='histomm.FeatureMonitorHook', interval=2, min_std=0.0, min_rankme=7.0)
        train(before=listen, hooks=[hook], length=1)
        assert sum('rankme' in line and 'warned below 7.0' in line for line in logs) == 1

    def test_unknown_module(self, train):
        with pytest.raises(ValueError, match="no module 'encoder', expected one of data_preprocessor, backbone"):
            train(hooks=[dict(type='histomm.FeatureMonitorHook', module='encoder')])

    @pytest.mark.parametrize('arguments', [dict(interval=0), dict(num_samples=1)])
    def test_arguments_are_checked(self, arguments):
        with pytest.raises(ValueError, match='expected at least 1 and 2'):
            FeatureMonitorHook(**arguments)


class TestPoolFeatures:
    def test_shapes(self):
        maps = torch.randn(2, 3, 4, 5, requires_grad=True)
        expected = torch.tensor([[[[v.item() for v in channel.flatten()] for channel in m]] for m in maps]).mean(-1)[
            :, 0
        ]
        torch.testing.assert_close(pool_features((torch.zeros(1), maps)), expected)
        torch.testing.assert_close(pool_features([maps.flatten(2).mT]), expected)
        vectors = torch.randn(2, 3, dtype=torch.bfloat16)
        assert pool_features(vectors).equal(vectors.float())
        assert pool_features(maps.bfloat16()).dtype == torch.float32
        assert not pool_features(maps).requires_grad

    @pytest.mark.parametrize('output', [dict(a=1), (), torch.zeros(3)])
    def test_others_are_refused(self, output):
        with pytest.raises(TypeError, match='the monitored module returned'):
            pool_features(output)


class TestOnlineKNN:
    def test_separable_classes_are_found(self, train):
        """Classes differ in brightness, which any convolution sees."""
        runner = train(length=2, hooks=[KNN | dict(k=1)])
        assert history(runner, 'knn_top1') == [100, 100]

    def test_equals_plain_computation(self, train):
        runner = train(length=1, hooks=[KNN])
        images = ToyImages(size=30)
        order = torch.randperm(30, generator=torch.Generator().manual_seed(0)).tolist()
        samples = [images[i] for i in order]
        x = torch.stack([(sample['inputs'].float() - 127) / 60 for sample in samples])
        with torch.no_grad():
            z = nn.functional.normalize(runner.model.eval().backbone(x).mean((2, 3)), dim=1)
        labels = torch.tensor([int(sample['data_samples'].gt_label) for sample in samples])
        similarity = z[:6] @ z[6:].T
        right = 0
        for row, label in zip(similarity, labels[:6], strict=True):
            best = row.argsort(descending=True)[:3]
            votes = [(row[best] / 0.07).exp()[labels[6:][best] == c].sum() for c in (0, 1)]
            right += int(votes[1] > votes[0]) == label
        assert history(runner, 'knn_top1') == pytest.approx([100 * int(right) / 6])

    @pytest.mark.parametrize(('classes', 'said'), [(None, 'have 0 classes'), (1, 'have 1 classes')])
    def test_turns_itself_off_without_labels(self, train, classes, said):
        logs = []

        def listen(runner):
            handler = logging.Handler()
            handler.emit = lambda record: logs.append(record.getMessage())
            runner.logger.addHandler(handler)

        runner = train(before=listen, hooks=[KNN | dict(dataset=dict(type='ToyImages', classes=classes))])
        assert sum('OnlineKNNHook is off' in line and said in line for line in logs) == 1
        assert 'train/knn_top1' not in runner.message_hub.log_scalars

    @pytest.mark.parametrize('folders', [('a', 'b'), ('',)], ids=['labelled', 'flat'])
    def test_patch_dataset(self, train, tmp_path, folders):
        """Dark against bright patches of two sizes; a flat folder has no labels, which turns the hook off."""
        for i, folder in enumerate(folders):
            for k in range(10):
                image = np.random.default_rng(k).integers(0, 50, (20 + k % 2, 24, 3), dtype=np.uint8) + 150 * i
                path = tmp_path / 'data' / folder / f'{k}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(path), image.astype(np.uint8))
        pipeline = [
            dict(type='histomm.LoadPatch'),
            dict(type='mmpretrain.ResizeEdge', scale=16, backend='cv2'),
            dict(type='mmpretrain.CenterCrop', crop_size=16),
            dict(type='mmpretrain.PackInputs'),
        ]
        data = dict(type='histomm.PatchDataset', data_root=str(tmp_path / 'data'), with_labels=True, pipeline=pipeline)
        logs = []

        def listen(runner):
            handler = logging.Handler()
            handler.emit = lambda record: logs.append(record.getMessage())
            runner.logger.addHandler(handler)

        runner = train(length=1, before=listen, hooks=[KNN | dict(dataset=data)])
        if len(folders) == 2:
            assert history(runner, 'knn_top1') == [100]
        else:
            assert sum('OnlineKNNHook is off' in line and 'lies in no class folder' in line for line in logs) == 1

    def test_data_set_smaller_than_k(self, train):
        runner = train(length=1, hooks=[KNN | dict(k=500, dataset=dict(type='ToyImages', size=4))])
        assert len(history(runner, 'knn_top1')) == 1

    def test_modes_come_back(self):
        module = nn.Sequential(nn.BatchNorm2d(1), nn.Sequential(nn.Dropout(), nn.BatchNorm2d(1)))
        module[0].eval()
        modes = [part.training for part in module.modules()]
        with contextlib.suppress(KeyError), evaluating(module):
            assert not any(part.training for part in module.modules())
            raise KeyError
        assert [part.training for part in module.modules()] == modes

    @pytest.mark.parametrize(
        ('changes', 'message'),
        [
            (dict(k=0), 'k is 0'),
            (dict(interval=0), 'interval is 0'),
            (dict(holdout=1.0), 'holdout is 1.0'),
            (dict(max_samples=1), 'max_samples 1'),
        ],
    )
    def test_arguments_are_checked(self, train, changes, message):
        with pytest.raises(ValueError, match=message):
            train(hooks=[KNN | changes])


class TestUnreadableFiles:
    """Two files of four are no images; whichever process met them, both are named."""

    def test_names_are_listed(self, train, tmp_path):
        for k in range(4):
            path = tmp_path / 'data' / f'{k}.png'
            path.parent.mkdir(exist_ok=True)
            if k % 2:
                assert cv2.imwrite(str(path), np.full((8, 8, 3), 90, np.uint8))
            else:
                path.write_bytes(b'no image')
        pipeline = [dict(type='histomm.LoadPatch'), dict(type='mmpretrain.PackInputs')]
        data = dict(data_root=str(tmp_path / 'data'), unreadable='skip', pipeline=pipeline)
        hook = [dict(type='histomm.UnreadableFilesHook')]
        train(length=1, workers=1, hooks=hook, type='histomm.PatchDataset', **data)
        listed = (tmp_path / 'run' / 'unreadable_files.txt').read_text().splitlines()
        assert listed == [str(tmp_path / 'data' / f'{k}.png') for k in (0, 2)]

    def test_nothing_to_report(self, train, tmp_path):
        train(length=1, hooks=[dict(type='histomm.UnreadableFilesHook')])
        assert not (tmp_path / 'run' / 'unreadable_files.txt').exists()


class TestRandomness:
    def test_same_key_same_draws(self):
        seed_everything(1, 2, 3)
        first = draw()
        seed_everything(1, 2, 3)
        assert draw() == first

    def test_neighbouring_keys_differ(self):
        draws = set()
        keys = [(seed, rank, iteration) for seed in (0, 1) for rank in (0, 1) for iteration in range(50)]
        for key in keys:
            seed_everything(*key)
            draws |= set(draw())
        assert len(draws) == 3 * len(keys)

    def test_preserved(self):
        seed_everything(4)
        expected = draw()
        seed_everything(4)
        with contextlib.suppress(KeyError), preserved_randomness():
            draw()
            seed_everything(9)
            raise KeyError
        assert draw() == expected

    def test_seeding_is_cheap(self):
        """Twice a step; below 0.1 ms each (the best of several, as machines are shared)."""
        times = []
        for iteration in range(200):
            start = time.perf_counter()
            seed_everything(1, 0, iteration)
            times.append(time.perf_counter() - start)
        assert min(times) < 1e-4
