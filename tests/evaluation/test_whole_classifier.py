"""Classifiers with their heads: scores are those that tools/test.py would give, and nothing is loaded by halves."""

import numpy as np
import pytest
import torch
from classifier_files import CLASSIFIER, write_classifier
from mmpretrain.structures import DataSample
from PIL import Image
from small_runs import REPO

from histomm.evaluation.classifier import classifier_from_config, find_checkpoint
from histomm.evaluation.extraction import ImageFiles
from histomm.models.weights import TransferError


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A checkpoint as training writes it, and its model."""
    path = tmp_path_factory.mktemp('trained') / 'epoch_1.pth'
    return path, write_classifier(path)


@pytest.fixture
def altered(trained, tmp_path):
    """Writes the checkpoint with some tensors changed."""

    def write(change):
        content = torch.load(trained[0], weights_only=False)
        content['state_dict'] = change(content['state_dict'])
        torch.save(content, tmp_path / 'altered.pth')
        return tmp_path / 'altered.pth'

    return write


def test_scores_are_those_of_the_whole_model(trained):
    path, model = trained
    classifier = classifier_from_config(CLASSIFIER, path)
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        scores = classifier(images).softmax(dim=1)
        batch = model.data_preprocessor(dict(inputs=list(images), data_samples=[DataSample() for _ in images]))
        expected = torch.stack([sample.pred_score for sample in model.predict(**batch)])
    torch.testing.assert_close(scores, expected)
    assert (scores[0] - scores[1]).abs().max() > 1e-4
    assert classifier.classes == ('benign', 'malignant')
    assert [step['type'] for step in classifier.steps] == ['mmpretrain.ResizeEdge', 'mmpretrain.CenterCrop']
    assert not classifier.network.training


def test_classes_by_name_and_number(trained):
    classifier = classifier_from_config(CLASSIFIER, trained[0])
    assert [classifier.class_number(name) for name in ('malignant', '1', 'benign', '0')] == [1, 1, 0, 0]
    with pytest.raises(ValueError, match='class 4 is none of the 2 classes of the classifier: 0 benign, 1 malignant'):
        classifier.class_number('4')


def test_backbone_alone_is_no_classifier(trained, altered):
    """A model without its head would tell features, and class 4 would be the fifth of them."""
    headless = altered(lambda state: {name: value for name, value in state.items() if name.startswith('backbone')})
    with pytest.raises(TransferError, match='has no head, found backbone; give the checkpoint of a whole model'):
        classifier_from_config(CLASSIFIER, headless)
    with pytest.raises(ValueError, match=r'found no model\.head'):
        classifier_from_config(str(REPO / 'configs/mocov2/mocov2_r18_nct.py'), trained[0])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda state: {k: v for k, v in state.items() if 'layer3.1.bn2' not in k},
            r'lacks the tensors backbone\.layer3',
        ),
        (lambda state: state | {'head.fc2.weight': torch.zeros(1)}, r'would ignore the tensors head\.fc2\.weight'),
        (
            lambda state: state | {'head.fc.weight': torch.zeros(9, 512)},
            r'head\.fc\.weight has shape \(9, 512\), the model',
        ),
    ],
)
def test_every_tensor_counts(altered, change, message):
    with pytest.raises(TransferError, match=message):
        classifier_from_config(CLASSIFIER, altered(change))


def test_data_with_other_classes_are_refused(trained, altered):
    with pytest.raises(ValueError, match='the head tells 3 classes, the data have 2'):
        classifier_from_config(
            CLASSIFIER,
            altered(lambda state: state | {'head.fc.weight': torch.zeros(3, 512), 'head.fc.bias': torch.zeros(3)}),
            {'model.head.num_classes': 3},
        )


def test_classifiers_of_patches_see_the_middle_one(tmp_path):
    config = str(REPO / 'configs/bach/resnet50_finetune_bach_patches.py')
    options = {'model.backbone.depth': 18, 'model.head.in_channels': 512, 'model.head.num_classes': 2}
    options['test_dataloader.dataset.patch'] = 48
    write_classifier(tmp_path / 'a.pth', config=config, options=options)
    classifier = classifier_from_config(config, tmp_path / 'a.pth', options)
    pixels = np.zeros((100, 140, 3), np.uint8)
    pixels[26:74, 46:94] = 255  # 48 pixels around the middle
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    seen = ImageFiles([str(tmp_path / 'a.png')], classifier.steps)[0]
    assert seen.shape == (3, 224, 224)
    assert (seen == 255).all()


def test_best_checkpoint_of_a_work_directory(tmp_path):
    for name in ('best_a.pth', 'epoch_3.pth'):
        (tmp_path / name).touch()
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_3.pth'))
    assert find_checkpoint(tmp_path).name == 'best_a.pth'
    assert find_checkpoint(tmp_path / 'epoch_3.pth').name == 'epoch_3.pth'
    (tmp_path / 'best_b.pth').touch()
    with pytest.raises(TransferError, match=r'several best checkpoints, best_a\.pth, best_b\.pth'):
        find_checkpoint(tmp_path)
    for name in 'ab':
        (tmp_path / f'best_{name}.pth').unlink()
    assert find_checkpoint(tmp_path).name == 'epoch_3.pth'
