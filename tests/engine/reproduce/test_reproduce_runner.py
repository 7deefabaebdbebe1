"""The runner with real small processes: what is skipped, run anew, gone on with, and left when it is stopped."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from histomm.engine.reproduce import Launch, RecipeError, StageFailed, script
from histomm.engine.reproduce.record import command_metrics

ALL = ['make', 'one', 'seed0 from 0', 'seed1 from 0', 'two', 'seed0 from 0', 'seed1 from 0']


def test_everything_runs_once_and_in_order(toy):
    (_, records, _), journal = toy.run()
    assert journal == ALL
    assert (toy.work / 'weights/two/result').read_text() == 'twomakep'
    assert records.read(toy.plan().runs['fine/two/seed1'])['metrics']['coco/bbox_mAP'] == pytest.approx(0.6)
    assert toy.run()[1] == []
    assert toy.said == ['7 of 7 stages are finished, 0 are to be run']


def test_stages_side_by_side_wait_for_what_they_need(toy):
    _, journal = toy.run(Launch(jobs=3))
    assert sorted(journal) == sorted(ALL)
    assert journal[0] == 'make'
    assert (toy.work / 'weights/two/result').read_text() == 'twomakep'


def test_another_recipe_with_the_same_stages_finds_them_done(toy):
    toy.run()
    toy.recipe |= {'title': 'Another table', 'rows': {'only': {'names': {'method': 'two'}}}, 'seeds': 3}
    assert toy.run()[1] == ['seed2 from 0']


def test_a_changed_command_runs_anew_with_what_depends_on_it(toy):
    toy.run()
    toy.recipe['stages']['weights']['args'] += ['{work}/data/made/result']
    assert toy.run(rows=('first',))[1] == ['one', 'seed0 from 0', 'seed1 from 0']
    assert 'weights/one: its command has changed since it last ran, so it runs anew' in toy.said
    assert 'fine/one/seed0: the stage weights/one has changed since it last ran, so it runs anew' in toy.said
    assert (toy.work / 'weights/one/result').read_text() == 'onemakepmake'
    assert f'fine/one/seed0: what was there is now in {toy.work}/fine/one/seed0.old1' in toy.said
    assert (toy.work / 'fine/one/seed0.old1/iter_3.pth').is_file()
    assert (toy.work / 'fine/one/seed0.old1/record.json').is_file()


def test_a_changed_config_runs_anew(toy):
    toy.run(rows=('first',))
    with (toy.repo / 'configs/toy.py').open('a') as file:
        file.write('train_dataloader.update(batch_size=8)\n')
    assert toy.run(rows=('first',))[1] == ['seed0 from 0', 'seed1 from 0']
    assert 'fine/one/seed0: its config has changed since it last ran, so it runs anew' in toy.said


def test_changed_data_run_anew(toy):
    toy.run(rows=('first',))
    (toy.root / 'patches/list.txt').write_text('more')
    assert toy.run(rows=('first',))[1] == ['one', 'seed0 from 0', 'seed1 from 0']
    assert f'weights/one: the data in {toy.root}/patches/list.txt has changed since' in ' '.join(toy.said)


def test_changed_arguments_in_the_repository_are_changed_data(toy):
    (toy.repo / 'table.csv').write_text('1')
    toy.recipe['stages']['weights']['args'][-1] = 'table.csv'
    plan = toy.plan()
    run = plan.runs['weights/one']
    toy.parts(plan)[1].begin(run)
    assert toy.parts(plan)[1].changes(run) == []
    (toy.repo / 'table.csv').write_text('2')
    assert toy.parts(plan)[1].changes(run) == [f'the data in {toy.repo}/table.csv']


def test_data_of_the_same_size_with_other_contents_run_anew(toy):
    toy.run(rows=('first',))
    (toy.root / 'patches/list.txt').write_text('q')
    assert toy.run(rows=('first',))[1] == ['one', 'seed0 from 0', 'seed1 from 0']


def test_copied_data_count_as_before(toy, tmp_path):
    toy.run()
    toy.root = Path(shutil.copytree(toy.root, tmp_path / 'copy', copy_function=shutil.copyfile))
    os.utime(toy.root / 'patches/list.txt', (1, 1))
    assert toy.run()[1] == []


def test_moved_data_and_results_count_as_before(toy, tmp_path):
    toy.run()
    toy.root = toy.root.rename(tmp_path / 'moved_data')
    toy.work = toy.work.rename(tmp_path / 'moved_work')
    assert toy.run()[1] == []


def test_results_behind_finished_figures_may_be_removed(toy):
    toy.run()
    (toy.work / 'weights/one/result').unlink()
    assert toy.run()[1] == []
    # a new seed needs them again, all the way
    (toy.work / 'data/made/result').unlink()
    assert toy.run(seeds=3, rows=('first',))[1] == ['make', 'one', 'seed2 from 0']


def test_a_killed_training_goes_on_from_its_checkpoint(toy):
    (toy.repo / 'kill_at_2').touch()
    with pytest.raises(StageFailed, match=r'fine/one/seed0 ended with status -9, see \S+/logs/fine--one--seed0\.txt'):
        toy.run(rows=('first',), seeds=1)
    assert toy.run(rows=('first',), seeds=1)[1] == ['seed0 from 2']


def test_a_training_killed_before_its_evaluation_does_its_end_again(toy):
    """It has its last checkpoint, so that going on from there would neither train nor evaluate."""
    (toy.repo / 'kill_at_3').touch()
    with pytest.raises(StageFailed):
        toy.run(rows=('first',), seeds=1)
    assert toy.run(rows=('first',), seeds=1)[1] == ['seed0 from 0']


def test_a_training_that_only_lacks_its_record_is_not_repeated(toy):
    """The runner was killed between the end of the training and the note of it."""
    (_, records, _), _ = toy.run(rows=('first',), seeds=1)
    path = toy.work / 'records/fine--one--seed0.json'
    path.write_text(json.dumps({'parts': json.loads(path.read_text())['parts']}))
    (_, records, _), journal = toy.run(rows=('first',), seeds=1)
    assert journal == ['seed0 from 3']
    assert records.due() == []


def test_results_that_nobody_noted_are_set_aside(toy):
    (toy.work / 'fine/one/seed0').mkdir(parents=True)
    (toy.work / 'fine/one/seed0/last_checkpoint').write_text('iter_3.pth')
    assert toy.run(rows=('first',), seeds=1)[1] == ALL[:3]
    assert (toy.work / 'fine/one/seed0.old1/last_checkpoint').is_file()


def test_metrics_of_a_test_stage(toy):
    toy.recipe['stages']['score'] = {
        'kind': 'test', 'folder': 'score/{method}/seed{seed}', 'config': 'configs/toy.py',
        'checkpoint': '{fine}/iter_3.pth', 'options': {'randomness.seed': '{seed}'},
    }  # fmt: skip
    toy.recipe['columns']['AP']['stage'] = 'score'
    (plan, records, _), journal = toy.run(rows=('first',), seeds=1)
    assert journal == [*ALL[:3], 'test of iter_3.pth']
    assert records.read(plan.runs['score/one/seed0'])['metrics'] == {'coco/bbox_mAP': 0.2}
    # its checkpoint is used by another stage, so it has to be whole
    (toy.work / 'fine/one/seed0/iter_3.pth').write_bytes(b'half')
    toy.recipe['stages']['score']['options'] = {}
    assert toy.run(rows=('first',), seeds=1)[1] == ['seed0 from 0', 'test of iter_3.pth']


def test_figures_of_a_command(toy):
    score = toy.recipe['stages']['score'] = dict(
        kind='command', folder='score/{method}/seed{seed}', script='tools/score.py', args=['{fine}', '--out', '{out}'],
        outputs=['scores.json'], metrics='scores.json',
    )  # fmt: skip
    (toy.repo / 'tools/score.py').write_text(
        'import json, sys\nfrom pathlib import Path\n'
        "text = json.dumps({'test': {'dice': 0.25, 'rule': 'labels', 'empty': False}, 'images': 2})\n"
        "Path(sys.argv[3], 'scores.json').write_text(text)\n"
    )
    toy.recipe['columns']['AP'] = {'stage': 'score', 'metric': 'test/dice'}
    (plan, records, _), _ = toy.run(rows=('first',), seeds=1)
    assert records.read(plan.runs['score/one/seed0'])['metrics'] == {'test/dice': 0.25, 'images': 2}
    toy.recipe['columns']['AP']['metric'] = 'test/aji'
    with pytest.raises(StageFailed, match=r'seed0 ended well, but .* has no test/aji, only test/dice, images'):
        toy.run(rows=('first',), seeds=1)
    score['metrics'] = 'other.json'
    with pytest.raises(
        RecipeError, match=r"stages\.score\.metrics: 'other\.json' is none of its outputs, scores\.json"
    ):
        toy.run(rows=('first',), seeds=1)


@pytest.mark.parametrize(('text', 'message'), [('[1]', 'holds a list'), ('{', 'no JSON'), (None, 'not written')])
def test_figures_that_cannot_be_read_are_a_failure(text, message, tmp_path):
    if text:
        (tmp_path / 'scores.json').write_text(text)
    with pytest.raises(ValueError, match=rf'scores\.json .*{message}'):
        command_metrics(tmp_path, 'scores.json')


def test_a_failure_shows_the_log_and_what_is_half_done_is_made_again(toy):
    (toy.repo / 'fail_one').touch()
    with pytest.raises(StageFailed, match='weights/one ended with status 1'):
        toy.run()
    said = ' '.join(toy.said)
    assert 'AssertionError: told to fail' in said
    assert f'see {toy.work}/logs/weights--one.txt' in said
    assert (toy.work / 'weights/one/half').is_file()
    (toy.repo / 'fail_one').unlink()
    assert toy.run()[1] == ALL[1:]


def test_keep_going_leaves_out_only_what_needs_the_failed(toy):
    (toy.repo / 'fail_one').touch()
    with pytest.raises(StageFailed, match='weights/one'):
        toy.run(Launch(keep_going=True))
    (toy.repo / 'fail_one').unlink()
    assert toy.run()[1] == ['one', 'seed0 from 0', 'seed1 from 0']


def test_missing_outputs_and_metrics_are_failures(toy):
    toy.recipe['stages']['make']['outputs'] = ['other']
    with pytest.raises(StageFailed, match=r'data/made ended well, but \S+/data/made/other was not written'):
        toy.run()
    toy.recipe['stages']['make']['outputs'] = ['result']
    toy.recipe['columns']['AP']['metric'] = 'coco/bbox_mAP_75'
    with pytest.raises(
        StageFailed, match=r'seed0 ended well, but .* has no coco/bbox_mAP_75, only coco/bbox_mAP, coco'
    ):
        toy.run()


def test_printed_commands_can_be_typed(toy):
    parts = toy.parts(toy.plan(rows=('second',), seeds=1))
    text = script(*parts)
    python = shlex.quote(sys.executable)
    subprocess.run(['bash', '-euc', text.replace('\npython ', f'\n{python} ')], cwd=toy.repo, check=True)
    assert (toy.work / 'weights/two/result').read_text() == 'twomakep'
    assert (toy.work / 'fine/two/seed0/iter_3.pth').is_file()
    assert [line for line in text.splitlines()[1:] if line.startswith('# ')] == [
        '# data/made: not run yet', '# weights/two: not run yet', '# fine/two/seed0: not run yet',
    ]  # fmt: skip


def test_script_tells_how_far_each_stage_is(toy):
    (toy.repo / 'fail_one').touch()
    with pytest.raises(StageFailed):
        toy.run(rows=('first',), seeds=1)
    toy.recipe['stages']['make']['args'] += ['{patches}/list.txt']
    lines = [line for line in script(*toy.parts(toy.plan(seeds=1))).splitlines()[1:] if line.startswith('# ')]
    assert lines[:3] == [
        '# data/made: to be run anew, as its command has changed since it last ran',
        '# weights/one: to be run anew, as the stage data/made has changed since it last ran',
        '# fine/one/seed0: not run yet',
    ]
    toy.recipe['stages']['make']['args'].pop()
    lines = [line for line in script(*toy.parts(toy.plan(seeds=1))).splitlines()[1:] if line.startswith('# ')]
    assert lines[:2] == ['# data/made: finished in 0 s', '# weights/one: begun']


def test_launchers(toy):
    """The commands of docs/configs.md, with the batch of 16 shared out."""
    plan = toy.plan(rows=('first',), seeds=1)
    run = plan.runs['fine/one/seed0']
    rest = f'--cfg-options randomness.seed=0 load_from={toy.work}/weights/one/result train_dataloader.batch_size=4'
    _, _, commands = toy.parts(plan, Launch('pytorch', gpus=4))
    assert commands.of(run).text() == (
        f'bash tools/dist_train.sh configs/toy.py 4 --work-dir {toy.work}/fine/one/seed0 --resume {rest}'
    )
    _, _, commands = toy.parts(plan, Launch('slurm', gpus=4, partition='gpu'))
    assert commands.of(run).text() == (
        'GPUS=4 GPUS_PER_NODE=4 bash tools/slurm_train.sh gpu fine_one_seed0 configs/toy.py '
        f'{toy.work}/fine/one/seed0 --resume {rest}'
    )
    _, _, commands = toy.parts(plan, Launch('pytorch', gpus=3))
    with pytest.raises(RecipeError, match='the batch of 16 cannot be shared out among --gpus 3'):
        commands.of(run)


def test_number_of_gpus_does_not_make_another_run(toy):
    toy.run()
    _, records, _ = toy.parts(toy.plan(), Launch('pytorch', gpus=4))
    assert records.due() == []


# ---- stopped from outside

DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import Toy
if __name__ == '__main__':
    try:
        Toy(Path(sys.argv[2])).run(rows=('first',), seeds=1)
    except KeyboardInterrupt:
        sys.exit(7)
"""


def descendants(pid):
    """Processes that came from one, whichever session they are in."""
    parents = {}
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(')')[2].split()[1])
        except OSError:
            continue
    found, new = set(), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return found


def alive(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != 'linux', reason='looks into /proc')
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_running(toy, tmp_path, number):
    (toy.repo / 'sleep_make').touch()
    (tmp_path / 'driver.py').write_text(DRIVER)
    runner = subprocess.Popen(
        [sys.executable, str(tmp_path / 'driver.py'), str(Path(__file__).parent), str(tmp_path)],
        env=os.environ | {'OMP_NUM_THREADS': '1'}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # what a shell runs beside itself ignores it
    )  # fmt: skip
    journal, end = toy.repo / 'journal', time.monotonic() + 60
    while not journal.is_file() and time.monotonic() < end and runner.poll() is None:
        time.sleep(0.05)
    started = descendants(runner.pid)
    assert started
    runner.send_signal(number)
    status = runner.wait(30)
    end = time.monotonic() + 15
    while any(map(alive, started)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [pid for pid in started if alive(pid)]
    assert status == {signal.SIGINT: 7, signal.SIGTERM: 128 + signal.SIGTERM, signal.SIGKILL: -9}[number]
    (toy.repo / 'sleep_make').unlink()
    assert toy.run(rows=('first',), seeds=1)[1] == ALL[:3]


def test_a_second_run_in_the_same_folder_is_refused(toy):
    import fcntl

    toy.work.mkdir()
    with (toy.work / '.lock').open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StageFailed, match='is in use by another run'):
            toy.run()
    assert len(toy.run()[1]) == len(ALL)
