"""Folds of slides drawn, trained on, and judged by the tools, on drawn bags."""

import csv
import json
import os
import re
import shutil
from collections import Counter

import h5py
import numpy as np
import pytest
from bag_files import draw_bags, write_bag
from small_runs import REPO, bag_options, command_options
from tool_modules import load_tool

CONFIG = str(REPO / 'configs/nsclc/mean_region_nsclc.py')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Slides of two classes that can be told apart, one patient with two of them."""
    root = draw_bags(tmp_path_factory.mktemp('bags'), 30, dim=16)
    rng = np.random.default_rng(5)
    for number, path in enumerate(sorted((root / 'region_features').glob('*.h5'))):
        write_bag(path, rng.normal((number % 2) * 1.5, 1, (4, 16)).astype(np.float32))
    for name in ('slides.csv', 'survival.csv'):
        text = (root / name).read_text()
        (root / name).write_text(text.replace('DX1.svs,TCGA-05-Z002', 'DX1.svs,TCGA-05-Z000'))
    split('slides.csv', root, '--folds', 3)
    return root


def split(table, root, *words):
    load_tool('tools/split_slides.py').main([str(root / table), *map(str, words)])


def judge(root, out, *words, **options):
    options = bag_options(root) | {'test_evaluator.bootstrap': 0, 'model.aggregator.in_channels': 16} | options
    words = [CONFIG, '--out', str(out), *map(str, words), '--cfg-options', *command_options(options)]
    load_tool('tools/eval_bags.py').main(words)
    return json.loads((out / 'folds.json').read_text())


def columns(path):
    with open(path) as file:
        rows = list(csv.DictReader(file))
    return {part: [row[part] for row in rows if row[part]] for part in ('train', 'val', 'test')}


# ---- folds


def test_folds_keep_patients_together_and_classes_in_proportion(root):
    tested = Counter()
    for number in range(3):
        parts = columns(root / f'splits/splits_{number}.csv')
        names = [name for part in parts.values() for name in part]
        assert len(names) == len(set(names)) == 30
        assert (
            len({part for part, slides in parts.items() for s in slides if s[:12] in ('TCGA-05-Z000', 'TCGA-05-Z002')})
            == 1
        )
        for slides in parts.values():
            odd = sum(int(name[9:12]) % 2 for name in slides)
            assert abs(odd - len(slides) / 2) <= 1
        tested.update(parts['test'])
    assert set(tested.values()) == {1}
    assert len(tested) == 30


def test_folds_of_times_have_events_in_proportion(root, tmp_path, capsys):
    split('survival.csv', root, '--survival', '--folds', 5, '--out', tmp_path)
    lines = capsys.readouterr().out.splitlines()
    counts = [tuple(map(int, pair)) for line in lines for pair in re.findall(r'(\d+) event=0, (\d+) event=1', line)]
    assert len(counts) == 15
    assert all(abs(alive - (alive + dead) * 7 / 30) <= 1.5 for alive, dead in counts)


@pytest.mark.parametrize(
    ('table', 'words', 'message'),
    [
        ('slide,label\na,x\nb,y\nc,x\nd,y\n', ('--folds', 2), 'folds is 2, expected 3 or more'),
        ('slide,label\na,x\nb,y\n', (), '2 groups cannot be cut into 10 folds'),
        (
            'slide,label\n' + ''.join(f's{i},{"y" if i == 3 else "x"}\n' for i in range(9)),
            ('--folds', 3),
            r"the part '\w+' of fold 0 has no slide of y, expected some of each of \('x', 'y'\)",
        ),
    ],
)
def test_folds_that_cannot_be_are_refused(table, words, message, tmp_path):
    (tmp_path / 'slides.csv').write_text(table)
    with pytest.raises(SystemExit, match=f'^split_slides: .*{message}'):
        split('slides.csv', tmp_path, *words)
    assert not (tmp_path / 'splits').exists()


# ---- nearest neighbours, training


def test_neighbours_are_those_of_the_means_of_slides(root, tmp_path, capsys):
    found = judge(root, tmp_path, '--knn', '--k', 3)
    labels = {path.stem: int(path.stem[9:12]) % 2 for path in (root / 'region_features').glob('*.h5')}
    means = {}
    for name in labels:
        with h5py.File(root / f'region_features/{name}.h5') as file:
            means[name] = file['features'][:].mean(0)
    for number in range(3):
        parts = columns(root / f'splits/splits_{number}.csv')
        shares = {}
        for name in parts['test']:
            near = sorted(parts['train'], key=lambda other: np.linalg.norm(means[other] - means[name]))[:3]
            shares[name] = sum(labels[other] for other in near) / 3
        right = [(share > 0.5) == labels[name] for name, share in shares.items()]
        scores = found['folds'][str(number)]
        assert scores['accuracy'] == pytest.approx(np.mean(right))
        pairs = [(shares[a] > shares[b]) + 0.5 * (shares[a] == shares[b])
                 for a in shares if labels[a] for b in shares if not labels[b]]  # fmt: skip
        assert scores['auc'] == pytest.approx(np.mean(pairs))
    values = [found['folds'][str(number)]['auc'] for number in range(3)]
    assert found['mean']['auc'] == pytest.approx(np.mean(values))
    assert found['std']['auc'] == pytest.approx(np.std(values, ddof=1))
    assert f'| mean ± sd | {found["mean"]["macro_f1"]:.4f} ± ' in capsys.readouterr().out
    places = ['--features', root / 'region_features', '--table', root / 'slides.csv', '--splits', root / 'splits']
    elsewhere = judge(tmp_path, tmp_path / 'again', '--knn', '--k', 3, *places)
    assert elsewhere == found, 'the data may be named in place of the config'


def test_a_config_is_trained_on_each_fold_and_goes_on_where_it_was(root, tmp_path):
    options = {'optim_wrapper.optimizer.lr': 0.02, 'train_cfg.max_epochs': 3, 'train_cfg.val_interval': 3}
    found = judge(root, tmp_path, '--folds', 0, 2, **options)
    assert set(found['folds']) == {'0', '2'}
    assert found['mean']['auc'] > 0.9, 'the classes can be told apart'
    record = tmp_path / 'fold_0/scores.json'
    kept = json.loads(record.read_text())
    kept['scores']['auc'] = 0.125
    record.write_text(json.dumps(kept))
    again = judge(root, tmp_path, '--folds', 0, 2, **options)
    assert again['folds'] == found['folds'] | {'0': found['folds']['0'] | {'auc': 0.125}}, 'finished folds are kept'
    other = judge(root, tmp_path, '--folds', 0, **options | {'randomness.seed': 2})
    assert other['folds']['0']['auc'] != 0.125, 'other settings are trained anew'


def test_neighbours_are_taken_anew_when_data_change(root, tmp_path):
    data = shutil.copytree(root, tmp_path / 'data')

    def kept(**options):
        found = judge(data, tmp_path / 'out', '--knn', '--folds', 0, **options)['folds']['0']['auc'] == 7
        record = json.loads((tmp_path / 'out/fold_0/scores.json').read_text())
        record['scores']['auc'] = 7
        (tmp_path / 'out/fold_0/scores.json').write_text(json.dumps(record))
        return found

    assert not kept()
    assert kept(), 'nothing has changed'
    table, name = data / 'slides.csv', columns(data / 'splits/splits_0.csv')['test'][0]
    text = table.read_text()
    label = re.search(rf'{name}.svs,.*,(\w+)', text)[1]
    before = table.stat()
    table.write_text(re.sub(rf'({name}.svs,.*),\w+', rf'\1,{"LUAD" if label == "LUSC" else "LUSC"}', text))
    os.utime(table, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert table.stat().st_size == before.st_size
    assert not kept(), 'a label was corrected'
    assert kept()
    write_bag(data / f'region_features/{name}.h5', np.zeros((4, 16), np.float32))
    assert not kept(), 'features were extracted anew'
    assert not kept(**{'test_dataloader.dataset.max_instances': 2}), 'the test part is read in another way'
    assert kept(**{'test_dataloader.dataset.max_instances': 2})


@pytest.mark.parametrize(
    ('words', 'options', 'message'),
    [
        (('--folds', 7), {}, r'splits/splits_7\.csv does not exist; draw folds with tools/split_slides\.py'),
        (('--knn', '--k', 99), {}, 'k is 99, expected 1 to the 10 slides of the training part'),
        ((), {'train_dataloader.dataset.split_file': 'folds.csv'}, r"split_file is 'folds\.csv', expected a file with"),
        (
            (),
            {'val_dataloader': None},
            r'val_dataloader\.dataset of .*\.py is missing, expected one of type histomm\.Bag',
        ),
        (
            (),
            {'test_dataloader.dataset.type': 'mmpretrain.CUB'},
            r'test_dataloader\.dataset of .* is mmpretrain\.CUB, expected one of type histomm\.BagDataset',
        ),
        (
            ('--knn',),
            {'test_dataloader.dataset.target': 'survival'},
            r"test_dataloader\.dataset\.target is 'survival', expected 'label' for --knn",
        ),
    ],
)
def test_wrong_use_is_told_in_one_sentence(words, options, message, root, tmp_path):
    with pytest.raises(SystemExit, match=f'^eval_bags: .*{message}'):
        judge(root, tmp_path, *words, **options)
