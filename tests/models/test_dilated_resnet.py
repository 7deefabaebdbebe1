"""The dilated ResNet beside torchvision's, weight for weight."""

import pytest
import torch
from mmpretrain.models.backbones import ResNet
from torchvision.models import resnet50

from histomm.models import DilatedResNet


@pytest.fixture(scope='module')
def theirs():
    torch.manual_seed(0)
    return resnet50(replace_stride_with_dilation=[False, True, True]).eval()


def test_maps_equal_those_of_torchvision(theirs):
    ours = DilatedResNet(50).eval()
    state = {name: value for name, value in theirs.state_dict().items() if not name.startswith('fc.')}
    ours.load_state_dict(state)
    images = torch.rand(1, 3, 64, 64)
    x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
    expected = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(x))))
    (found,) = ours(images)
    assert found.shape == (1, 2048, 8, 8)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_shapes_and_parameters_are_those_of_the_stride():
    plain, images = ResNet(50), torch.rand(1, 3, 64, 64)
    for stride, rates in ((8, ([1, 2, 2, 2, 2, 2], [2, 4, 4])), (16, ([1] * 6, [1, 2, 2]))):
        model = DilatedResNet(50, output_stride=stride).eval()
        assert {name: value.shape for name, value in model.state_dict().items()} == {
            name: value.shape for name, value in plain.state_dict().items()
        }
        assert sum(value.numel() for value in model.parameters()) == 23_508_032
        for layer, expected in zip((model.layer3, model.layer4), rates, strict=True):
            convs = [block.conv2 for block in layer]
            assert [conv.dilation[0] for conv in convs] == [conv.padding[0] for conv in convs] == expected
        with torch.no_grad():
            assert model(images)[0].shape == (1, 2048, 64 // stride, 64 // stride)


def test_a_map_of_224_pixels_has_28_cells():
    with torch.no_grad():
        assert DilatedResNet(50).eval()(torch.zeros(1, 3, 224, 224))[0].shape == (1, 2048, 28, 28)


@pytest.mark.parametrize(('depth', 'stride'), [(50, 4), (18, 8)])
def test_other_strides_and_basic_blocks_are_refused(depth, stride):
    with pytest.raises(ValueError, match=f'depth is {depth} and output_stride {stride}, expected 50, 101 or 152'):
        DilatedResNet(depth, output_stride=stride)
