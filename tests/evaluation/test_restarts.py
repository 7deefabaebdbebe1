"""Checkpoints of restarts: which are found, which is chosen on training images, and what the test images are asked."""

from pathlib import Path

import pytest
import torch
from torch import nn

from histomm.evaluation import ConfidenceMetric
from histomm.evaluation.restarts import evaluate, evaluate_restarts, find_checkpoints, load_weights
from histomm.models.weights import TransferError
from histomm.registry import MODELS


def _touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b'')
    return folder


def test_each_epoch_is_found_once_in_the_order_of_numbers(tmp_path):
    run = _touch(
        tmp_path / 'run', 'epoch_9.pth', 'epoch_10.pth', 'epoch_100.pth', 'best_nuclei_a_epoch_20.pth',
        'best_nuclei_b_epoch_100.pth', 'best_nuclei_b_epoch_20.pth', 'last_checkpoint', 'notes.pth',
    )  # fmt: skip
    names = [path.name for path in find_checkpoints(run)]
    assert [name.rpartition('_')[2] for name in names] == ['9.pth', '10.pth', '20.pth', '100.pth']
    assert names[-1] == 'epoch_100.pth'
    assert find_checkpoints(run / 'notes.pth') == [run / 'notes.pth']


def test_no_checkpoint_is_an_error_before_anything_is_scored(tmp_path):
    full, empty = _touch(tmp_path / 'full', 'epoch_1.pth'), _touch(tmp_path / 'empty')
    with pytest.raises(FileNotFoundError, match=r'empty: found no checkpoint'):
        evaluate_restarts([full, empty], lambda path, channel: pytest.fail('scored'))


TRAIN = {
    # Dice of the best channel by labels, its number; haematoxylin of the best without, its number, its Dice
    'one/epoch_1.pth': (0.50, 0, 0.3, 2, 0.45),
    'one/epoch_2.pth': (0.70, 1, 0.2, 1, 0.70),
    'one/epoch_3.pth': (0.60, 2, 0.6, 3, 0.55),
    'two/epoch_1.pth': (0.40, 3, 0.5, 3, 0.40),
    'two/epoch_2.pth': (0.10, 0, 0.1, 0, 0.10),
}


def _score(asked: list):
    """Scores by a table; on the test images the earlier epochs are better, which must not matter."""

    def score(path: Path, channel: int | None) -> dict[str, float]:
        name = f'{path.parent.name}/{path.name}'
        if channel is None:
            by_labels, first, free, second, of_second = TRAIN[name]
            return dict(
                dice_channel_by_labels=by_labels,
                channel_by_labels=first,
                haematoxylin_channel_label_free=free,
                channel_label_free=second,
                dice_channel_label_free=of_second,
            )
        asked.append((name, channel))
        value = 1 - 0.1 * int(path.stem[-1]) - 0.01 * channel
        return dict(dice=value, dice_raw=value / 2, aji=value / 3, pq=value / 4)

    return score


def test_epoch_and_channel_come_from_the_training_images(tmp_path):
    runs = [_touch(tmp_path / 'one', 'epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth')]
    runs.append(_touch(tmp_path / 'two', 'epoch_1.pth', 'epoch_2.pth'))
    asked: list = []
    result = evaluate_restarts(runs, _score(asked))
    one, two = result['restarts']
    assert (Path(one['by_labels']['checkpoint']).name, one['by_labels']['channel']) == ('epoch_2.pth', 1)
    assert (Path(one['label_free']['checkpoint']).name, one['label_free']['channel']) == ('epoch_3.pth', 3)
    assert (one['by_labels']['score'], one['by_labels']['train_dice']) == (0.7, 0.7)
    assert (one['label_free']['score'], one['label_free']['train_dice']) == (0.6, 0.55)
    assert asked == [('one/epoch_2.pth', 1), ('one/epoch_3.pth', 3), ('two/epoch_1.pth', 3)]
    assert two['by_labels']['test'] == two['label_free']['test']
    assert [candidate['train']['channel_by_labels'] for candidate in one['candidates']] == [0, 1, 2]
    summary = result['summary']
    assert summary['by_labels']['dice']['max'] == pytest.approx(0.87)
    assert summary['by_labels']['dice']['mean'] == pytest.approx((0.79 + 0.87) / 2)
    assert summary['label_free']['aji']['mean'] == pytest.approx((0.67 + 0.87) / 6)
    assert summary['label_free']['pq']['restarts'] == 2
    assert result['best_restart'] == {'by_labels': 0, 'label_free': 0}, 'although the second is better on test images'


def _model(**options):
    backbone = dict(type='histomm.ConfidenceNet', num_classes=2, channels=4, dilations=(1, 2))
    return MODELS.build(dict(type='histomm.PatchContrast', backbone=backbone, **options))


def _batches(num: int = 3):
    from mmengine.structures import BaseDataElement

    for number in range(num):
        generator = torch.Generator().manual_seed(number)
        image = torch.randint(50 * number, 256, (3, 24, 24), generator=generator, dtype=torch.uint8)
        sample = BaseDataElement(metainfo=dict(img_path=f'{number}.png'))
        sample.set_field(torch.ones(24, 24, dtype=torch.int32), 'gt_instance_map')
        yield dict(inputs=[[image]], data_samples=[sample])


def test_evaluation_is_in_evaluation_mode_and_changes_nothing():
    """Entropies are those of the running statistics, whatever mode the model was in, and unlike those of batches."""
    model = _model()
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    found = evaluate(model, _batches(), ConfidenceMetric(choose=True))
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert found.keys() >= {'channel_by_labels', 'dice_ch0', 'entropy_ch1'}
    expected = []
    for batch in _batches():
        image = batch['inputs'][0][0][None] / 255 * 0.95 + 0.05
        c = model.backbone(image)[0].double()
        expected.append((-c * c.log2() - (1 - c) * (1 - c).log2()).mean((1, 2)))
    assert [found['entropy_ch0'], found['entropy_ch1']] == pytest.approx(torch.stack(expected).mean(0).tolist())
    batch_wise = _model(bn_batch_stats=True)
    batch_wise.load_state_dict(before)
    other = evaluate(batch_wise, _batches(), ConfidenceMetric(choose=True))
    assert abs(other['entropy_ch0'] - found['entropy_ch0']) > 1e-3


def test_weights_of_another_model_are_refused(tmp_path):
    source = _model()
    torch.save({'state_dict': source.state_dict(), 'meta': {'epoch': 3}}, tmp_path / 'right.pth')
    torch.save({'state_dict': {'backbone.conv1.0.weight': torch.zeros(1)}}, tmp_path / 'wrong.pth')
    torch.manual_seed(1)
    target = _model()
    load_weights(target, tmp_path / 'right.pth')
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in target.state_dict().items())
    with pytest.raises(TransferError, match=r'wrong.pth is not of the model of the config'):
        load_weights(target, tmp_path / 'wrong.pth')
