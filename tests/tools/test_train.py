"""tools/train.py as a user starts it: killed and resumed, distributed, with mmseg, and with wrong input."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import REPO, command_options, draw_patches, pretraining_options
from tool_modules import load_tool

CONFIG = REPO / 'configs/plm/moco_plm_r18_nct.py'


@pytest.fixture(scope='module')
def patches(tmp_path_factory):
    return draw_patches(tmp_path_factory.mktemp('drawn'), num=12)


def command(work_dir, options, *more):
    return [
        sys.executable, str(REPO / 'tools/train.py'), str(CONFIG), '--work-dir', str(work_dir), *more,
        '--cfg-options', *command_options(options),
    ]  # fmt: skip


def environment():
    return os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONUNBUFFERED': '1'}


def finish(arguments, work_dir=None):
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, cwd=work_dir, check=False)
    return done.returncode, done.stdout + done.stderr


def final_state(work_dir, epoch):
    checkpoint = torch.load(work_dir / f'epoch_{epoch}.pth', weights_only=False)
    return checkpoint['state_dict'], checkpoint['optimizer'], checkpoint['param_schedulers']


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def test_killed_and_resumed_equals_uninterrupted(patches, tmp_path):
    options = pretraining_options(patches, batch_size=4, epochs=3, samples=12) | {'default_hooks.knn': None}
    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    code, log = finish(command(whole, options))
    assert code == 0, log[-2000:]
    assert 'eta:' in log
    assert 'data_wait:' in log
    assert list(whole.glob('*/vis_data/events.out.tfevents.*'))

    process = subprocess.Popen(
        command(broken, options), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while not (broken / 'last_checkpoint').is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (broken / 'last_checkpoint').is_file()
    assert not (broken / 'epoch_3.pth').is_file(), 'the run ended before it was killed'

    code, log = finish(command(broken, options, '--resume'))
    assert code == 0, log[-2000:]
    assert 'resumed epoch' in log
    assert same(final_state(whole, 3), final_state(broken, 3))


def test_workers_do_not_change_the_weights(patches, tmp_path):
    states = []
    for workers in (0, 2):
        options = pretraining_options(patches, epochs=1, samples=12) | {
            'default_hooks.knn': None,
            'train_dataloader.num_workers': workers,
        }
        code, log = finish(command(tmp_path / str(workers), options))
        assert code == 0, log[-2000:]
        states.append(final_state(tmp_path / str(workers), 1)[0])
    assert same(*states)


def test_two_processes_train_through_the_script(patches, tmp_path):
    options = pretraining_options(patches, batch_size=2, epochs=1, samples=8)
    arguments = [
        'bash', str(REPO / 'tools/dist_train.sh'), str(CONFIG), '2', '--work-dir', str(tmp_path), '--cfg-options',
        *command_options(options),
    ]  # fmt: skip
    path = f'{os.path.dirname(sys.executable)}:{os.environ["PATH"]}'
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    done = subprocess.run(
        arguments, env=environment() | {'PATH': path, 'PORT': port}, capture_output=True, text=True, check=False
    )
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-3000:]
    assert 'over gloo' in log
    # 8 samples over 2 processes of batch size 2: two iterations
    assert '[1][2/2]' in log
    assert 'knn_top1:' in log
    state = final_state(tmp_path, 1)[0]
    assert int(state['queue.pointer']) == 8


@pytest.fixture(scope='module')
def tools():
    """The scripts as modules, so that wrong input need not start an interpreter each time."""
    return {name: load_tool(f'tools/{name}.py') for name in ('train', 'test')}


SEGMENTATION = """
_base_ = ['mmseg::_base_/models/fcn_r50-d8.py', 'histomm::_base_/default_runtime.py']
default_scope = 'mmseg'
norm_cfg = dict(type='BN')
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(depth=18, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=512, channels=16, num_classes=2, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=256, channels=16, num_classes=2, norm_cfg=norm_cfg),
)
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
flip = dict(type='histomm.SeedGlobalRandom', transforms=[dict(type='RandomFlip', prob=0.5)])
pack = dict(type='PackSegInputs')
dataset = dict(
    type='BaseSegDataset',
    metainfo=dict(classes=('stroma', 'gland'), palette=[(0, 0, 0), (0, 160, 80)]),
    data_prefix=dict(img_path='img', seg_map_path='mask'),
    img_suffix='.png',
)
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='histomm.SeededSampler', infinite=True),
    dataset=dict(pipeline=[*load, flip, pack], **dataset),
)
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(pipeline=[*load, pack], **dataset),
)
test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1)
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
visualizer = dict(type='SegLocalVisualizer')
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=1))
log_processor = dict(by_epoch=False)
"""


def test_a_segmentor_trains_and_is_tested_by_the_same_scripts(tools, tmp_path, monkeypatch):
    pytest.importorskip('mmcv.ops', exc_type=ImportError)
    for folder, shape, high in (('img', (64, 64, 3), 256), ('mask', (64, 64), 2)):
        (tmp_path / folder).mkdir()
        for number in range(2):
            pixels = np.random.default_rng(number).integers(0, high, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f'{number}.png')
    (tmp_path / 'segment.py').write_text(SEGMENTATION)
    monkeypatch.chdir(tmp_path)
    tools['train'].main(['segment.py'])
    checkpoint = 'work_dirs/segment/iter_1.pth'
    assert Path('work_dirs/segment/last_checkpoint').read_text().endswith('iter_1.pth')
    metrics = tools['test'].main(['segment.py', checkpoint])
    assert 0 <= metrics['mIoU'] <= 100


@pytest.mark.parametrize(
    ('more', 'options', 'message'),
    [
        (['--amp'], {'optim_wrapper.type': 'ApexOptimWrapper'}, r'--amp: optim_wrapper\.type is ApexOptimWrapper'),
        (['--fused'], {'optim_wrapper.optimizer.type': 'ASGD'}, '--fused: optim_wrapper.optimizer is ASGD'),
        (['--profile', '0'], {}, '--profile: the number of steps is 0, expected at least 1'),
        ([], {'train_dataloader.dataset.data_root': 'no/such/folder'}, 'no/such/folder'),
        ([], {'model.loss_lambda': 2}, 'loss_lambda is 2'),
        ([], {'model.matchers.gamma': 2}, r'model\.matchers is a list of 1, .* such as model\.matchers\.0\.gamma'),
    ],
)
def test_wrong_input_is_named(tools, patches, tmp_path, more, options, message):
    arguments = command(tmp_path, pretraining_options(patches) | options, *more)[2:]
    with pytest.raises((SystemExit, ValueError, FileNotFoundError), match=message):
        tools['train'].main(arguments)


def test_a_missing_config_is_named(tools):
    with pytest.raises(FileNotFoundError, match=r'configs/plm/none.py: no such file'):
        tools['train'].main(['configs/plm/none.py'])


def test_automatic_scaling_needs_a_batch_size_to_scale_from(tools, tmp_path):
    own = tmp_path / 'own.py'
    own.write_text("_base_ = 'histomm::plm/moco_plm_r18_nct.py'\nauto_scale_lr = dict(_delete_=True)\n")
    with pytest.raises(SystemExit, match='base_batch_size'):
        tools['train'].main([str(own), '--auto-scale-lr'])


def test_testing_needs_a_checkpoint_and_test_data(tools, tmp_path):
    with pytest.raises(SystemExit, match=r'none\.pth: no such file'):
        tools['test'].main([str(CONFIG), str(tmp_path / 'none.pth')])
    (tmp_path / 'some.pth').touch()
    with pytest.raises(SystemExit, match='no test_dataloader'):
        tools['test'].main([str(CONFIG), str(tmp_path / 'some.pth')])


def test_runs_with_switches_go_on_without_and_give_backbones(tools, patches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = pretraining_options(patches, batch_size=4, epochs=1, samples=4) | {'default_hooks.knn': None}
    switches = ['--amp', '--channels-last', '--fused']
    tools['train'].main(command('run', options, *switches)[2:])
    first = final_state(tmp_path / 'run', 1)
    weight = first[0]['key_encoder.module.backbone.conv1.weight']
    assert weight.is_contiguous(memory_format=torch.channels_last)
    extract = load_tool('tools/model_converters/extract_backbone.py')
    extract.main(['run', '--out', 'backbone', '--name', 'fast', '--formats', 'torchvision'])
    weights = torch.load('backbone/fast_torchvision.pth', weights_only=True)['state_dict']
    assert torch.equal(weights['conv1.weight'], first[0]['backbone.conv1.weight'])
    assert weights['conv1.weight'].is_contiguous()
    assert Path('backbone/fast_torchvision.safetensors').is_file()
    tools['train'].main(command('run', options | {'train_cfg.max_epochs': 2}, '--resume')[2:])
    second = final_state(tmp_path / 'run', 2)
    assert list(second[0]) == list(first[0])
    assert int(second[0]['queue.pointer']) == 8
    assert not second[1]['param_groups'][0]['fused']
