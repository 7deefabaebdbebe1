"""tools/train.py as a user starts it: killed and resumed, distributed, and with wrong input."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from small_runs import REPO, command_options, draw_patches, pretraining_options

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

    process = subprocess.Popen(
        command(broken, options), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while not (broken / 'last_checkpoint').is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (broken / 'last_checkpoint').is_file()

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
    done = subprocess.run(
        arguments, env=environment() | {'PATH': path, 'PORT': '29533'}, capture_output=True, text=True, check=False
    )
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-3000:]
    assert 'over gloo' in log
    # 8 samples over 2 processes of batch size 2: two iterations
    assert '[1][2/2]' in log
    state = final_state(tmp_path, 1)[0]
    assert int(state['queue.pointer']) == 8


def test_console_shows_eta_and_waiting_for_data(patches, tmp_path):
    code, log = finish(command(tmp_path, pretraining_options(patches, epochs=1, samples=12)))
    assert code == 0, log[-2000:]
    assert 'eta:' in log
    assert 'data_wait:' in log
    assert 'knn_top1:' in log
    assert list(tmp_path.glob('*/vis_data/events.out.tfevents.*'))


@pytest.mark.parametrize(
    ('more', 'options', 'message'),
    [
        (['--amp'], {}, '--amp: found no CUDA device'),
        ([], {'train_dataloader.dataset.data_root': 'no/such/folder'}, 'no/such/folder'),
        ([], {'model.loss_lambda': 2}, 'loss_lambda is 2'),
    ],
)
def test_wrong_input_ends_with_one_clear_line(patches, tmp_path, more, options, message):
    if '--amp' in more and torch.cuda.is_available():
        pytest.skip('this machine has a CUDA device')
    code, log = finish(command(tmp_path, pretraining_options(patches) | options, *more))
    assert code != 0
    assert message in log.strip().splitlines()[-1]


def test_a_missing_config_is_named():
    code, log = finish([sys.executable, str(REPO / 'tools/train.py'), 'configs/plm/none.py'])
    assert code != 0
    assert 'configs/plm/none.py: no such file' in log.strip().splitlines()[-1]


def test_testing_needs_a_checkpoint_that_is_there(tmp_path):
    code, log = finish([sys.executable, str(REPO / 'tools/test.py'), str(CONFIG), str(tmp_path / 'none.pth')])
    assert code != 0
    assert 'none.pth: no such file' in log
