"""Aggregators: padding counts for nothing, order does not matter, and each is what its paper says."""

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from histomm.functional.bags import pad_bags
from histomm.models import BagDataPreprocessor
from histomm.models.mil import DSMIL, BagClassifier, BagSurvival, GatedABMIL, MaxMIL, MeanMIL, ViTWSI, from_authors
from histomm.wsi.feature_file import read_bag

AGGREGATORS = {
    'max': lambda classes: MaxMIL(12, classes),
    'mean': lambda classes: MeanMIL(12, classes),
    'abmil': lambda classes: GatedABMIL(12, classes, 8),
    'dsmil': lambda classes: DSMIL(12, classes),
    'dsmil original': lambda classes: DSMIL(12, classes, variant='original'),
    'vit-wsi': lambda classes: ViTWSI(12, classes, 24),
}

each = pytest.mark.parametrize('make', AGGREGATORS.values(), ids=AGGREGATORS)


@each
@pytest.mark.parametrize('classes', [1, 2, 3])
def test_padding_changes_nothing(make, classes):
    """Bags of 1 to 9 instances give the same alone and beside others, whatever stands behind their ends."""
    model, bags = make(classes).eval(), [torch.randn(size, 12) for size in (1, 9, 2, 5)]
    padded, mask = pad_bags(bags)
    padded[~mask] = float('nan')
    together = model(padded, mask)
    for number, bag in enumerate(bags):
        alone = model(bag[None])
        for stream, own in zip(together.streams, alone.streams, strict=True):
            assert stream.shape == (4, classes)
            assert torch.allclose(stream[number], own[0], atol=1e-5)
        assert torch.allclose(together.attention[number, : len(bag)], alone.attention[0], atol=1e-5)
    assert (together.attention[~mask] == 0).all()
    assert torch.allclose(together.attention.sum(1), torch.ones(()), atol=1e-5)


@each
def test_order_of_instances_does_not_matter(make):
    model, bag, order = make(2).eval(), torch.randn(1, 9, 12), torch.randperm(9)
    first, second = model(bag), model(bag[:, order])
    for stream, other in zip(first.streams, second.streams, strict=True):
        assert torch.allclose(stream, other, atol=1e-5)
    assert torch.allclose(first.attention[:, order], second.attention, atol=1e-5)


@each
def test_gradients_reach_every_weight_and_no_padding(make):
    model = make(2).eval()
    bags, mask = pad_bags([torch.randn(4, 12), torch.randn(6, 12)])
    bags.requires_grad_()
    # a square: sums of attention alone are constant
    sum((stream**2).sum() for stream in model(bags, mask).streams).backward()
    assert (bags.grad[~mask] == 0).all()
    assert bags.grad[mask].abs().sum() > 0
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_only_the_likeliest_instance_of_maximum_mil_has_a_gradient():
    bags = torch.randn(1, 6, 12, requires_grad=True)
    output = MaxMIL(12).eval()(bags)
    output.streams[0].sum().backward()
    assert (bags.grad[0].abs().sum(1) > 0).tolist() == (output.attention[0, :, 0] == 1).tolist()


def test_vit_wsi_has_the_parameters_of_its_paper():
    """Linear 192→192 37,056; two blocks of 223,104; gates 74,305; Linear 37,056; classifier 386."""
    assert sum(p.numel() for p in ViTWSI().parameters()) == 37056 + 2 * 223104 + 74305 + 37056 + 386


@pytest.mark.parametrize('variant', ['hipt', 'original'])
def test_dsmil_equals_a_loop(variant):
    model, bag = DSMIL(12, 3, variant).eval(), torch.randn(1, 7, 12)
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}
    x = bag[0].double().numpy()
    scores = x @ state['instance.weight'].T + state['instance.bias']
    if variant == 'hipt':
        query = x @ state['query.weight'].T + state['query.bias']
        value = x @ state['value.1.weight'].T + state['value.1.bias']
    else:
        hidden = np.maximum(x @ state['query.0.weight'].T + state['query.0.bias'], 0)
        query, value = np.tanh(hidden @ state['query.2.weight'].T + state['query.2.bias']), x
    vectors = np.zeros((3, 12))
    for number in range(3):
        logits = query @ query[scores[:, number].argmax()] / np.sqrt(128)
        vectors[number] = np.exp(logits) / np.exp(logits).sum() @ value
    weight, bias = state['fc.weight'], state['fc.bias']
    logits = np.array([(weight[number] * vectors).sum() + bias[number] for number in range(3)])
    streams = [part[0].tolist() for part in model(bag).streams]
    if variant == 'hipt':
        assert streams == [pytest.approx((0.5 * (logits + scores.max(0))).tolist(), abs=1e-5)]
    else:
        assert streams[0] == pytest.approx(logits.tolist(), abs=1e-5)
        assert streams[1] == pytest.approx(scores.max(0).tolist(), abs=1e-5)


def test_weights_of_the_authors_load_strictly(real_data):
    """Camelyon16 has one class, TCGA lung two; what they start from has queries and values of the older form."""
    folder = real_data / 'checkpoints/dsmil'
    if not folder.is_dir():
        pytest.skip(f'no aggregators of DS-MIL in {folder}')
    for name, classes in (('c16', 1), ('tcga', 2)):
        state = torch.load(folder / f'{name}_aggregator.pth', map_location='cpu', weights_only=True)
        model = DSMIL(512, classes, 'original')
        model.load_state_dict(from_authors(state))
        assert torch.equal(model.fc.weight, state['b_classifier.fcc.weight'])
    older = from_authors(torch.load(folder / 'init.pth', map_location='cpu', weights_only=True))
    missing, unexpected = DSMIL(512, 2).load_state_dict(older, strict=False)
    assert not unexpected
    assert {name.partition('.')[0] for name in missing} == {'instance', 'fc'}


def test_weights_of_another_model_are_refused():
    with pytest.raises(ValueError, match=r'backbone.weight is none of i_classifier.fc.0.\*'):
        from_authors({'backbone.weight': torch.zeros(1)})


# ---- models


def batch(sizes=(3, 1, 5), width=12, **truth):
    samples = []
    for number in range(len(sizes)):
        sample = DataSample()
        for name, values in truth.items():
            sample.set_field(torch.tensor([values[number]]), name)
        samples.append(sample)
    return BagDataPreprocessor()(dict(inputs=[torch.randn(size, width) for size in sizes], data_samples=samples))


def classifier(criterion='ce', **aggregator):
    return BagClassifier(dict(in_channels=12, **aggregator), criterion).eval()


def test_classifier_has_the_cross_entropy_and_softmax_of_its_logits():
    model, data = classifier(type='histomm.MeanMIL', num_classes=3), batch(gt_label=[2, 0, 1])
    logits = model(**data).streams[0]
    expected = -logits.log_softmax(1)[range(3), [2, 0, 1]].mean()
    assert model(**data, mode='loss')['loss'].item() == pytest.approx(expected.item())
    found = model(**data, mode='predict')
    assert torch.allclose(torch.stack([sample.pred_score for sample in found]), logits.softmax(1))
    assert [int(sample.pred_label) for sample in found] == logits.argmax(1).tolist()
    assert [tuple(sample.attention.shape) for sample in found] == [(3, 1), (1, 1), (5, 1)]


@pytest.mark.parametrize('classes', [1, 2])
def test_original_dsmil_is_trained_and_predicts_by_both_streams(classes):
    model = classifier('bce', type='histomm.DSMIL', num_classes=classes, variant='original')
    data = batch(gt_label=[1, 0, 1])
    streams = [logits.sigmoid() for logits in model(**data).streams]
    target = torch.tensor([[1.0], [0], [1]]) if classes == 1 else torch.tensor([[0.0, 1], [1, 0], [0, 1]])
    losses = [-(target * p.log() + (1 - target) * (1 - p).log()).mean() for p in streams]
    assert model(**data, mode='loss')['loss'].item() == pytest.approx(sum(losses).item() / 2, rel=1e-4)
    scores = torch.stack([sample.pred_score for sample in model(**data, mode='predict')])
    mean = (streams[0] + streams[1]) / 2
    assert torch.allclose(scores, mean if classes == 2 else torch.cat((1 - mean, mean), 1))


def test_survival_models_use_time_and_interval():
    cox = BagSurvival(dict(type='histomm.MeanMIL', in_channels=12, num_classes=1)).eval()
    data = batch(gt_time=[1.0, 2.0, 3.0], gt_event=[1, 0, 1])
    risk = cox(**data).streams[0][:, 0]
    expected = (risk.logsumexp(0) - risk[0]) / 2
    assert cox(**data, mode='loss')['loss'].item() == pytest.approx(expected.item(), rel=1e-5)
    assert [sample.pred_score.item() for sample in cox(**data, mode='predict')] == pytest.approx(risk.tolist())
    discrete = BagSurvival(dict(type='histomm.MeanMIL', in_channels=12, num_classes=2), 'discrete').eval()
    data = batch(gt_interval=[0, 1, 1], gt_event=[1, 0, 1])
    hazard = discrete(**data).streams[0].sigmoid()
    chances = [hazard[0, 0], (1 - hazard[1]).prod(), (1 - hazard[2, 0]) * hazard[2, 1]]
    expected = -sum(chance.log() for chance in chances) / 3
    assert discrete(**data, mode='loss')['loss'].item() == pytest.approx(expected.item(), rel=1e-5)
    risks = [-(1 - h[0]) - (1 - h[0]) * (1 - h[1]) for h in hazard]
    found = [sample.pred_score.item() for sample in discrete(**data, mode='predict')]
    assert found == pytest.approx([risk.item() for risk in risks], rel=1e-5)


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: classifier('mse', type='histomm.MeanMIL'), "criterion is 'mse', expected 'ce' or 'bce'"),
        (lambda: DSMIL(12, variant='other'), "variant is 'other', expected 'hipt' or 'original'"),
        (lambda: BagSurvival(dict(type='histomm.MeanMIL', in_channels=12), 'weibull'), "likelihood is 'weibull'"),
        (
            lambda: BagSurvival(dict(type='histomm.MeanMIL', in_channels=12))(
                **batch(gt_time=[1.0, 2.0, 3.0], gt_event=[1, 1, 1]), mode='loss'
            ),
            'the aggregator has 2 outputs, expected num_classes=1 of cox',
        ),
    ],
)
def test_wrong_arguments_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# ---- a real bag


@pytest.fixture(scope='module')
def real_bag(real_data):
    """777 tiles of a slide of TCGA, with features of 512 numbers."""
    path = real_data / 'features/mopadi/TCGA-AD-6964-01Z-00-DX1/features.h5'
    if not path.is_file():
        pytest.skip(f'no features of slides at {path}')
    return torch.from_numpy(read_bag(path)[0])


@pytest.mark.parametrize('name', ['MaxMIL', 'MeanMIL', 'GatedABMIL', 'DSMIL', 'ViTWSI'])
def test_a_real_bag_is_trained_on_alone_and_beside_a_part_of_itself(name, real_bag):
    """Outputs, losses and gradients of the padded batch are those of its bags, and a step down a slope goes as far."""
    model = BagClassifier(dict(type=f'histomm.{name}', in_channels=512, num_classes=2)).eval()
    bags, labels = [real_bag, real_bag[300:400]], [1, 0]
    samples = [DataSample().set_gt_label(label) for label in labels]

    def pack(*numbers):
        parts = dict(inputs=[bags[number] for number in numbers], data_samples=[samples[n] for n in numbers])
        return model.data_preprocessor(parts)

    def gradients(data):
        loss = model(**data, mode='loss')['loss']
        return loss.item(), torch.autograd.grad(loss, list(model.parameters()))

    both, alone = pack(0, 1), [pack(0), pack(1)]
    assert both['inputs'].shape == (2, 777, 512)
    assert both['mask'].sum(1).tolist() == [777, 100]
    outputs = [model(**data) for data in alone]
    assert torch.allclose(model(**both).streams[0], torch.cat([out.streams[0] for out in outputs]), atol=1e-4)
    attention = model(**both).attention
    for number, out in enumerate(outputs):
        assert torch.allclose(attention[number, : len(bags[number])], out.attention[0], atol=1e-5)
    loss, slopes = gradients(both)
    (first, of_first), (second, of_second) = (gradients(data) for data in alone)
    assert loss == pytest.approx((first + second) / 2, rel=1e-4)
    for slope, one, other in zip(slopes, of_first, of_second, strict=True):
        expected = (one + other) / 2
        assert (slope - expected).norm() <= 1e-3 * expected.norm() + 1e-6
    rate = 0.01 * first / sum(slope.square().sum() for slope in of_first)
    with torch.no_grad():
        for parameter, slope in zip(model.parameters(), of_first, strict=True):
            parameter -= rate * slope
    assert 1 - model(**alone[0], mode='loss')['loss'].item() / first == pytest.approx(0.01, rel=0.1)
