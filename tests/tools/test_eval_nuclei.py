"""From drawn nuclei through training and its best epochs to the table of restarts."""

import json
import re

import pytest
from mmengine.config import Config
from small_runs import command_options, draw_monuseg, fitting, nuclei_options
from tool_modules import load_tool

CONFIG = 'configs/patch_contrast/confnet_mse_monuseg.py'


def _options(nuclei, repo, **more):
    options = fitting(Config.fromfile(str(repo / CONFIG)), nuclei_options(nuclei, epochs=4)) | more
    return ['--cfg-options', *command_options(options)]


@pytest.fixture(scope='module')
def trained(tmp_path_factory, repo):
    """The data, and two restarts that were trained for four epochs each and scored after every second."""
    root = tmp_path_factory.mktemp('eval_nuclei')
    nuclei = draw_monuseg(root)
    runs = [root / f'seed{seed}' for seed in range(2)]
    for seed, run in enumerate(runs):
        more = {'randomness.seed': seed, 'train_cfg.val_interval': 2, 'default_hooks.checkpoint.max_keep_ckpts': 1}
        arguments = [str(repo / CONFIG), '--work-dir', str(run), *_options(nuclei, repo, **more)]
        load_tool('tools/train.py').main(arguments)
    return nuclei, runs


def _logged(run):
    rows = [json.loads(line) for line in next(run.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    return {row['step']: row for row in rows if 'nuclei/dice_ch0' in row}


def test_training_keeps_the_best_epoch_of_each_rule(trained):
    for run in trained[1]:
        logged = _logged(run)
        assert sorted(logged) == [2, 4]
        for name in ('nuclei/dice_channel_by_labels', 'nuclei/haematoxylin_channel_label_free'):
            (best,) = run.glob(f'best_{name.replace("/", "_")}_epoch_*.pth')
            epoch = int(re.findall(r'\d+', best.stem)[-1])
            assert logged[epoch][name] == max(row[name] for row in logged.values())


def test_the_table_is_that_of_the_training_images_and_the_test_images(trained, repo, capsys):
    nuclei, runs = trained
    tool = load_tool('tools/eval_nuclei.py')
    out = nuclei.parent / 'nuclei.json'
    result = tool.main([str(repo / CONFIG), *map(str, runs), '--out', str(out), *_options(nuclei, repo)])
    assert json.loads(out.read_text()) == result
    printed = capsys.readouterr().out
    assert 'also served to choose' not in printed
    assert {path.rpartition('/')[2] for path in result['images']['test']}.isdisjoint(
        path.rpartition('/')[2] for path in result['images']['train']
    )
    for run, restart in zip(runs, result['restarts'], strict=True):
        logged = _logged(run)
        for candidate in restart['candidates']:
            epoch = int(re.findall(r'\d+', candidate['checkpoint'])[-1])
            for name, value in candidate['train'].items():
                assert logged[epoch][f'nuclei/{name}'] == pytest.approx(value, abs=1e-4), name
        for rule in ('by_labels', 'label_free'):
            found = restart[rule]
            assert f'| {run} | {rule} | epoch_' in printed
            assert f'{found["test"]["dice"]:.4f}' in printed
    found = result['restarts'][0]['label_free']
    options = _options(nuclei, repo, **{'test_evaluator.channel': found['channel']})
    arguments = [str(repo / CONFIG), found['checkpoint'], '--work-dir', str(nuclei.parent / 'test'), *options]
    expected = load_tool('tools/test.py').main(arguments)
    for name in ('dice', 'dice_raw', 'aji', 'pq'):
        assert found['test'][name] == pytest.approx(expected[f'nuclei/{name}'])
    for rule in ('by_labels', 'label_free'):
        summary = result['summary'][rule]['dice']
        values = [restart[rule]['test']['dice'] for restart in result['restarts']]
        assert summary['max'] == max(values)
        assert summary['mean'] == pytest.approx(sum(values) / 2)
        assert f'{summary["mean"]:.4f} ± {summary["sd"]:.4f}' in printed
        scores = [restart[rule]['score'] for restart in result['restarts']]
        assert result['best_restart'][rule] == scores.index(max(scores))
        assert f'{rule}: best on the training images is {runs[scores.index(max(scores))]}, Dice' in printed


def test_images_that_serve_for_both_are_told(trained, repo, capsys):
    nuclei, runs = trained
    options = _options(nuclei, repo, **{'test_dataloader.dataset.list_file': 'train.txt'})
    checkpoint = runs[0] / 'epoch_4.pth'
    arguments = [str(repo / CONFIG), str(checkpoint), '--out', str(nuclei.parent / 'both.json'), *options]
    load_tool('tools/eval_nuclei.py').main(arguments)
    printed = capsys.readouterr().out
    count = len((nuclei / 'train.txt').read_text().splitlines())
    assert f'{count} of {count} test images also served to choose: the figures are too high' in printed
    assert ' ± ' not in printed.partition('over restarts')[2].partition('| by_labels')[2], (
        'one restart has no deviation'
    )


def test_morphology_is_that_of_the_config_or_of_the_command(trained, repo):
    nuclei, runs = trained
    tool = load_tool('tools/eval_nuclei.py')
    options = _options(nuclei, repo, **{'test_evaluator.radii': [1]})
    arguments = [str(repo / CONFIG), str(runs[0] / 'epoch_4.pth'), '--out', str(nuclei.parent / 'radii.json')]
    config = tool.main([*arguments, *options])
    command = tool.main([*arguments, '--radii', '3', '1', *options])
    assert (config['radii'], command['radii']) == ([1], [3, 1])
    dice = [result['summary']['by_labels']['dice']['mean'] for result in (config, command)]
    assert dice[0] != dice[1]


def test_what_is_missing_is_named(trained, repo):
    tool = load_tool('tools/eval_nuclei.py')
    with pytest.raises(SystemExit, match=r'none: no such checkpoint or work folder'):
        tool.main([str(repo / CONFIG), 'none'])
    with pytest.raises(SystemExit, match=r'confnet_mse_patches.py: found no val_dataloader'):
        tool.main([str(repo / 'configs/patch_contrast/confnet_mse_patches.py'), str(trained[1][0])])
