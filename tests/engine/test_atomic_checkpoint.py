"""An interrupted write never costs a good checkpoint."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from histomm.engine import fileio, latest_good_checkpoint
from histomm.engine.fileio import AtomicLocalBackend, remove_partial, write_atomic

HERE = Path(__file__).parent


class DiskFull(OSError):
    """What a full disk raises."""


def fail_on(monkeypatch, name):
    """Let the flush of the file ``name`` fail, after its bytes were written."""
    flush = os.fsync

    def fsync(descriptor):
        if name in os.readlink(f'/proc/self/fd/{descriptor}'):
            raise DiskFull(28, 'No space left on device')
        flush(descriptor)

    monkeypatch.setattr(fileio.os, 'fsync', fsync)


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir() if path.is_file() and path.suffix != '.py')


def test_write_replaces_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / 'new' / 'file.bin'
    write_atomic(b'old', path)
    write_atomic(b'newer', path)
    assert path.read_bytes() == b'newer'
    fail_on(monkeypatch, 'file.bin')
    with pytest.raises(DiskFull):
        write_atomic(b'newest', path)
    assert path.read_bytes() == b'newer'
    assert names(path.parent) == ['file.bin']


def test_file_mode_follows_umask(tmp_path):
    previous = os.umask(0o027)
    write_atomic(b'', tmp_path / 'shared.pth')
    os.umask(previous)
    assert (tmp_path / 'shared.pth').stat().st_mode & 0o777 == 0o640


def test_removals_wait_for_success(tmp_path):
    backend = AtomicLocalBackend()
    old, replaced = tmp_path / 'old', tmp_path / 'replaced'
    for path in (old, replaced):
        backend.put_text('a', path)
    with contextlib.suppress(DiskFull), backend.deferred_removal():
        backend.remove(old)
        raise DiskFull
    assert old.exists()
    with backend.deferred_removal(), backend.deferred_removal():
        backend.remove(old)
        backend.remove(replaced)
        AtomicLocalBackend().put_text('b', replaced)
        assert old.exists()
    assert not old.exists()
    assert replaced.read_text() == 'b'
    backend.remove(replaced)
    assert not replaced.exists()


def test_kill_in_mid_write_keeps_the_good_checkpoint(tmp_path, train):
    """kill -9 during the third write: the second checkpoint stands, resuming ends like an uninterrupted run."""
    script = [sys.executable, 'killed_in_write.py', str(tmp_path / 'run')]
    environment = os.environ | dict(PYTHONPATH=str(HERE.parents[1]))
    with subprocess.Popen(script, cwd=HERE, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert any(line.strip() == 'writing' for line in process.stdout)
        process.send_signal(signal.SIGKILL)
    left = names(tmp_path / 'run')
    assert left == [f'.epoch_3.pth.{process.pid}.partial', 'epoch_2.pth', 'last_checkpoint']
    checkpoint = latest_good_checkpoint(tmp_path / 'run')
    assert checkpoint == str(tmp_path / 'run' / 'epoch_2.pth')
    options = dict(length=5, checkpoint=dict(max_keep_ckpts=1))
    resumed = train('run', resume=True, load_from=checkpoint, **options)
    assert names(tmp_path / 'run') == ['epoch_5.pth', 'last_checkpoint']
    whole = train('whole', **options)
    torch.testing.assert_close(resumed.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize('failing', ['epoch_3.pth', 'last_checkpoint'])
def test_failed_write_keeps_the_previous_one(tmp_path, train, monkeypatch, failing):
    train(length=2, checkpoint=dict(max_keep_ckpts=1))
    fail_on(monkeypatch, failing)
    with pytest.raises(DiskFull):
        train(length=3, checkpoint=dict(max_keep_ckpts=1), resume=True, load_from=str(tmp_path / 'run' / 'epoch_2.pth'))
    assert latest_good_checkpoint(tmp_path / 'run') == str(tmp_path / 'run' / 'epoch_2.pth')


def test_previous_best_is_removed_after_the_new_one(tmp_path, train, monkeypatch):
    """Scores rise: the best of epoch 2 replaces that of epoch 1, unless its write fails."""
    runner = train(length=1, checkpoint=dict(save_best='score', rule='greater'))
    hook = next(hook for hook in runner._hooks if type(hook).__name__ == 'AtomicCheckpointHook')
    hook.after_val_epoch(runner, dict(score=0.5))
    folder = tmp_path / 'run'
    assert 'best_score_epoch_1.pth' in names(folder)
    runner.train_loop._epoch = 2
    with monkeypatch.context() as patch:
        fail_on(patch, 'best_score_epoch_2.pth')
        with pytest.raises(DiskFull):
            hook.after_val_epoch(runner, dict(score=0.6))
    assert 'best_score_epoch_1.pth' in names(folder)
    runner.message_hub.update_info('best_score', 0.5)
    hook.best_ckpt_path = str(folder / 'best_score_epoch_1.pth')
    hook.after_val_epoch(runner, dict(score=0.6))
    assert [name for name in names(folder) if 'best' in name] == ['best_score_epoch_2.pth']


def test_poisoned_weights_are_not_saved(tmp_path, train):
    def poison(runner):
        weight = runner.model.head.weight
        weight.register_hook(lambda gradient: gradient * float('inf') if runner.iter >= 5 else gradient)

    with pytest.raises(FloatingPointError, match=r'not finite \(in .*, so epoch_2.pth is not written'):
        train(length=3, before=poison)
    assert names(tmp_path / 'run') == ['epoch_1.pth', 'last_checkpoint']


def test_remote_store_is_refused(train):
    with pytest.raises(ValueError, match="out_dir='s3://bucket'"):
        train(length=1, checkpoint=dict(out_dir='s3://bucket', backend_args=dict(backend='http')))


class TestLatestGoodCheckpoint:
    """Which file a run goes on from."""

    @pytest.fixture
    def folder(self, tmp_path):
        for number in (2, 9, 10):
            torch.save(dict(weight=torch.zeros(500)), tmp_path / f'epoch_{number}.pth')
        torch.save({}, tmp_path / 'best_score_epoch_11.pth')
        torch.save({}, tmp_path / 'epoch_12-0123abcd.pth')
        (tmp_path / '.epoch_11.pth.77.partial').write_bytes(b'PK')
        return tmp_path

    def test_named(self, folder):
        (folder / 'last_checkpoint').write_text(str(folder / 'epoch_9.pth'))
        assert latest_good_checkpoint(folder) == str(folder / 'epoch_9.pth')

    def test_named_but_moved(self, folder):
        (folder / 'last_checkpoint').write_text('/elsewhere/epoch_9.pth\n')
        assert latest_good_checkpoint(folder) == str(folder / 'epoch_9.pth')

    @pytest.mark.parametrize('pointer', ['', 'epoch_11.pth'])
    def test_newest_by_number(self, folder, pointer):
        (folder / 'last_checkpoint').write_text(pointer)
        assert latest_good_checkpoint(str(folder)) == str(folder / 'epoch_10.pth')

    def test_no_pointer(self, folder):
        assert latest_good_checkpoint(folder) == str(folder / 'epoch_10.pth')

    @pytest.mark.parametrize('damage', ['cut', 'flipped'])
    def test_damaged(self, folder, damage, capsys):
        path = folder / 'epoch_10.pth'
        (folder / 'last_checkpoint').write_text(str(path))
        data = bytearray(path.read_bytes())
        if damage == 'cut':
            data = data[: len(data) // 2]
        else:
            data[data.index(bytes(500))] ^= 1  # a bit of the tensor
        path.write_bytes(data)
        assert latest_good_checkpoint(folder) == str(folder / 'epoch_9.pth')

    def test_nothing_yet(self, tmp_path):
        assert latest_good_checkpoint(tmp_path) is None
        assert latest_good_checkpoint(tmp_path / 'absent') is None

    def test_pointer_to_nothing(self, tmp_path):
        (tmp_path / 'last_checkpoint').write_text('epoch_1.pth')
        with pytest.raises(ValueError, match=r"names 'epoch_1.pth', which does not exist, and .* no other whole"):
            latest_good_checkpoint(tmp_path)

    def test_partial_files_are_cleaned(self, folder):
        assert remove_partial(folder) == ['.epoch_11.pth.77.partial']
        assert not list(folder.glob('.*'))
