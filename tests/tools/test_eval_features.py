"""Judging from the command line: the table, the file, and what is said when it cannot be done."""

import csv
import json

import numpy as np
import pytest
from feature_files import tool, write_features

RNG = np.random.default_rng(0)
LABELS = np.arange(80) % 2
FEATURES = (RNG.normal(0, 1, (80, 4)) + 2 * np.eye(2, 4)[LABELS]).astype(np.float32)
NAMES = [f'p{row // 4}/{row}.png' for row in range(80)]


def test_table_and_json_agree(tmp_path, capsys):
    path = write_features(tmp_path / 'f.h5', FEATURES, NAMES, labels=LABELS, classes=('a', 'b'))
    tool('eval_features', path, '--fractions', 10, 100, '--draws', 3, '--bootstrap', 50, '--out', tmp_path / 'r.json')
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / 'r.json').read_text())
    assert record['classes'] == ['a', 'b']
    assert record['protocol']['fractions'] == [0.1, 1.0]
    assert [(row['probe'], row['fraction'], len([0])) for row in record['summary']] == [
        ('knn', 0.1, 1), ('linear', 0.1, 1), ('knn', 1.0, 1), ('linear', 1.0, 1),
    ]  # fmt: skip
    assert len(record['runs']) == 8
    for row in record['summary']:
        runs = [r for r in record['runs'] if (r['probe'], r['fraction']) == (row['probe'], row['fraction'])]
        mean = np.mean([r['scores']['macro_f1'] for r in runs])
        assert row['scores']['macro_f1']['mean'] == pytest.approx(mean)
        line = next(
            text for text in printed.splitlines() if text.startswith(f'| {row["probe"]} | {100 * row["fraction"]:g} %')
        )
        assert f'{mean:.4f}' in line
        assert ('±' in line) == (row['fraction'] < 1)
    assert record['features'][str(path)]['weights'] == 'w'


def test_labels_and_patients_come_from_a_table(tmp_path, capsys):
    path = write_features(tmp_path / 'f.h5', FEATURES, NAMES)
    with open(tmp_path / 'table.csv', 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(('name', 'label', 'group'))
        writer.writerows((name, 'xy'[label], name[:2]) for name, label in zip(NAMES, LABELS, strict=True))
    tool(
        'eval_features',
        path,
        '--table',
        tmp_path / 'table.csv',
        '--folds',
        4,
        '--bootstrap',
        0,
        '--out',
        tmp_path / 'r.json',
    )
    record = json.loads((tmp_path / 'r.json').read_text())
    assert record['classes'] == ['x', 'y']
    assert sum(run['sizes']['test'] for run in record['runs'] if run['probe'] == 'knn') == 80
    assert record['summary'][1]['scores']['auc']['mean'] > 0.9


def test_regression_and_data_to_test_on(tmp_path):
    values = 40 + 10 * FEATURES[:, 1].astype(float)
    a = write_features(tmp_path / 'a.h5', FEATURES[:60], NAMES[:60], labels=values[:60])
    b = write_features(tmp_path / 'b.h5', FEATURES[60:], NAMES[60:], labels=values[60:])
    tool(
        'eval_features', a, '--test', b, '--parts', 75, 25, '--task', 'regression', '--groups', r'(p\d+)/',
        '--bootstrap', 50, '--out', tmp_path / 'r.json',
    )  # fmt: skip
    runs = json.loads((tmp_path / 'r.json').read_text())['runs']
    assert runs[1]['scores']['l1'] < 0.5 < runs[0]['scores']['l1']
    assert runs[1]['sizes']['test'] == 20


def test_scores_that_are_not_defined_are_null(tmp_path, capsys):
    path = write_features(tmp_path / 'f.h5', FEATURES, NAMES, labels=np.zeros(80, int), classes=('a', 'b'))
    tool('eval_features', path, '--bootstrap', 0, '--out', tmp_path / 'r.json')
    assert json.loads((tmp_path / 'r.json').read_text())['runs'][0]['scores']['auc'] is None
    assert 'not defined' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['none.h5'], r'feature file none\.h5 does not exist'),
        (['bare.h5'], r'bare\.h5 has no labels; extract with --labels, or give --table'),
        (['bare.h5', '--table', 'short.csv'], r'short\.csv lacks 79 of the 80 names'),
        (['bare.h5', '--table', 'odd.csv'], r'has the columns .*, expected name,label'),
        (['good.h5', '--test', 'other.h5'], 'were made with other weights'),
        (['good.h5', '--groups', 'tcga'], '80 of 80 names have no group'),
        (['good.h5', '--folds', '2'], 'folds is 2, expected 3 or more'),
        (['bare.h5', '--table', 'words.csv', '--task', 'regression'], 'a label that is no number'),
    ],
)
def test_judging_says_what_is_wrong(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_features(tmp_path / 'bare.h5', FEATURES, NAMES)
    write_features(tmp_path / 'good.h5', FEATURES, NAMES, labels=LABELS, classes=('a', 'b'))
    write_features(tmp_path / 'other.h5', FEATURES, NAMES, labels=LABELS, classes=('a', 'b'), settings={'weights': 'v'})
    (tmp_path / 'short.csv').write_text(f'name,label\n{NAMES[0]},a\n')
    (tmp_path / 'odd.csv').write_text('image,class\n')
    (tmp_path / 'words.csv').write_text('name,label\n' + ''.join(f'{name},much\n' for name in NAMES))
    with pytest.raises(SystemExit, match=f'eval_features: .*{message}'):
        tool('eval_features', *words)
