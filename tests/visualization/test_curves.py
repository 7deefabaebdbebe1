"""Reading what a run logged, from files written by hand."""

import json

import pytest

from histomm.visualization.curves import plot_curves, read_metrics, read_scalars


def _write(work_dir, run, records):
    path = work_dir / run / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(record) + '\n' for record in records))


def test_curves_of_one_run(tmp_path):
    records = [{'loss': 3.0, 'lr': 0.1, 'iter': 2, 'step': 2}, {'loss': 2.0, 'lr': 0.2, 'epoch': 1, 'step': 4}]
    _write(tmp_path, '1', records)
    assert read_scalars(tmp_path) == {'loss': ([2, 4], [3.0, 2.0]), 'lr': ([2, 4], [0.1, 0.2])}


def test_resumed_run_overrides_what_it_repeats(tmp_path):
    _write(tmp_path, '20260101_100000', [{'loss': 3.0, 'lr': 1, 'step': 1}, {'loss': 2.0, 'lr': 1, 'step': 2}])
    _write(tmp_path, '20260101_110000', [{'loss': 2.5, 'lr': 1, 'step': 2}, {'loss': 1.0, 'lr': 1, 'step': 3}])
    assert read_scalars(tmp_path)['loss'] == ([1, 2, 3], [3.0, 2.5, 1.0])


def test_measurement_with_lines_of_its_own_ignores_repetitions(tmp_path):
    records = [
        {'loss': 3.0, 'step': 1, 'lr': 1},
        {'knn_top1': 40.0, 'step': 2},
        {'loss': 2.0, 'lr': 1, 'knn_top1': 40.0, 'step': 3},
        {'knn_top1': 50.0, 'step': 4},
    ]
    _write(tmp_path, '1', records)
    assert read_scalars(tmp_path)['knn_top1'] == ([2, 4], [40.0, 50.0])


def test_nan_is_left_out(tmp_path):
    _write(tmp_path, '1', [{'loss': float('nan'), 'lr': 1, 'step': 1}, {'loss': 1.0, 'lr': 1, 'step': 2}])
    assert read_scalars(tmp_path)['loss'] == ([2], [1.0])


def test_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='give a work directory'):
        read_scalars(tmp_path)


def test_metrics_of_the_last_test(tmp_path):
    for run, value in (('20260101_100000', 0.1), ('20260101_110000', 0.2)):
        (tmp_path / run).mkdir()
        (tmp_path / run / f'{run}.json').write_text(json.dumps({'coco/segm_mAP': value, 'time': 3.0}) + '\n')
    assert read_metrics(tmp_path) == {'coco/segm_mAP': 0.2}


def test_metrics_of_training_where_nothing_was_tested(tmp_path):
    _write(tmp_path, '1', [{'coco/segm_mAP': 0.1, 'x': 1, 'step': 1}, {'coco/segm_mAP': 0.3, 'x': 1, 'step': 2}])
    assert read_metrics(tmp_path) == {'coco/segm_mAP': 0.3}


def test_lines_hold_the_data_and_the_axes_their_names():
    figure = plot_curves({'a': ([1, 2], [3.0, 4.0]), 'b': ([1, 2], [5.0, 6.0])}, 'loss')
    axes = figure.axes[0]
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[1, 3], [2, 4]], [[1, 5], [2, 6]]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ('iteration', 'loss')
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 2
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ['a', 'b']


def test_no_curves_is_an_error():
    with pytest.raises(ValueError, match='at least one curve'):
        plot_curves({}, 'loss')


def test_range_of_values_can_be_set():
    axes = plot_curves({'a': ([1, 2], [30.0, 31.0])}, 'share, %', ylim=(0, 100)).axes[0]
    assert axes.get_ylim() == (0, 100)
