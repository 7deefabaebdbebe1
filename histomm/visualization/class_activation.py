"""Class activation maps: which places of an image speak for a class, by Grad-CAM (Selvaraju et al., ICCV 2017).

Shapes: B images (H, W) of K classes, layers that give maps (B, C, h, w) or tokens (B, L, C).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from histomm.evaluation.classifier import Classifier


class ClassActivation(NamedTuple):
    """What a classifier says of an image, and where from."""

    map: np.ndarray
    """(H, W) float32 from 0 to 1: the evidence for the class, as a share of the most in the image; all 0 if none."""
    scores: np.ndarray
    """(K,) float32, softmax."""
    target: int
    """The class that the map is of."""


def class_activation(
    classifier: Classifier, images: Tensor, target: int | None = None, layer: str = ''
) -> list[ClassActivation]:
    """Grad-CAM of images: ReLU of the maps of a layer, weighted by the mean gradient of the score of a class.

    The score is that of the whole classifier before the softmax. The library grad-cam computes the map, takes its
    minimum as 0 and its maximum as 1, and brings it to the size of the image.

    Args:
        classifier: The classifier; parameters without gradient, of frozen stages, are no obstacle.
        images: (B, 3, H, W) uint8 RGB.
        target: Class; the predicted one of each image if left out.
        layer: Dotted name within the network, such as ``backbone.layer3``; :func:`last_block` if empty.

    Raises:
        ModuleNotFoundError: grad-cam is not installed.
        ValueError: no such class or layer, or one of which no maps can be had.
    """
    if target is not None and not 0 <= target < len(classifier.classes):
        raise ValueError(f'class {target} is none of the {len(classifier.classes)} of the classifier')
    images = images.to(classifier.mean.device, torch.float32).requires_grad_()  # so that frozen layers have gradients
    with torch.no_grad():
        scores = classifier(images).softmax(dim=1)
    targets = scores.argmax(dim=1).tolist() if target is None else [target] * len(images)
    name = layer or last_block(classifier.network.backbone)
    grids: list[tuple[int, int]] = []
    handle = _record_grid(classifier.network.backbone, grids)
    try:
        maps = _grad_cam(classifier, _layer(classifier, name), targets, images, _maps_of(classifier, grids, name))
    finally:
        if handle:
            handle.remove()
    rows = zip(maps, scores.cpu().numpy(), targets, strict=True)
    return [ClassActivation(map_, row, number) for map_, row, number in rows]


def last_block(backbone: nn.Module) -> str:
    """Name of the last block of a backbone: what comes out is what the classifier pools.

    The last residual block of a ResNet; the last layer of an EfficientNet; of a vision transformer the first norm of
    the last block, as the patch tokens behind it are of no use to a class token.

    Raises:
        ValueError: a backbone of another make.
    """
    if getattr(backbone, 'res_layers', None):
        stage = backbone.res_layers[-1]
        return f'backbone.{stage}.{len(getattr(backbone, stage)) - 1}'
    layers = getattr(backbone, 'layers', None)
    if isinstance(layers, (nn.ModuleList, nn.Sequential)) and len(layers):
        return f'backbone.layers.{len(layers) - 1}' + ('.ln1' if hasattr(layers[-1], 'ln1') else '')
    children = ', '.join(f'backbone.{name}' for name, _ in backbone.named_children())
    raise ValueError(
        f'{type(backbone).__name__} has neither res_layers nor layers, so its last block is not known; name a layer, '
        f'of {children}'
    )


def _layer(classifier: Classifier, name: str) -> nn.Module:
    try:
        return classifier.network.get_submodule(name)
    except AttributeError as error:
        known = last_block(classifier.network.backbone)
        raise ValueError(f'layer {name}: the classifier has none of this name, expected one such as {known}') from error


def _record_grid(backbone: nn.Module, grids: list) -> torch.utils.hooks.RemovableHandle | None:
    """Have a vision transformer note how many rows and columns of tokens there are."""
    embed = getattr(backbone, 'patch_embed', None)
    if embed is None:
        return None

    def note(module: nn.Module, args: tuple, output: object) -> None:
        if isinstance(output, tuple):
            grids.append((int(output[1][0]), int(output[1][1])))

    return embed.register_forward_hook(note)


def _maps_of(classifier: Classifier, grids: list, name: str) -> Callable[[Tensor], Tensor]:
    """What turns the output of a layer, or a gradient of it, into maps (B, C, h, w)."""
    extra = getattr(classifier.network.backbone, 'num_extra_tokens', 0)

    def maps(output: Tensor) -> Tensor:
        if isinstance(output, Tensor) and output.ndim == 4:
            return output.clone()  # the next layer may add to it in place
        if isinstance(output, Tensor) and output.ndim == 3 and grids:
            height, width = grids[-1]
            if output.shape[1] == extra + height * width:
                return output[:, extra:].mT.unflatten(2, (height, width)).clone()
        found = tuple(output.shape) if isinstance(output, Tensor) else f'a {type(output).__name__}'
        raise ValueError(
            f'layer {name} gives {found}, expected maps (B, C, h, w), or the tokens of a grid; name another layer'
        )

    return maps


def _grad_cam(
    classifier: Classifier, layer: nn.Module, targets: list[int], images: Tensor, maps: Callable[[Tensor], Tensor]
) -> np.ndarray:
    """Maps (B, H, W) by the library."""
    try:
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError as error:
        raise ModuleNotFoundError(
            'class activation maps need grad-cam, which is not installed whole; run '
            '`pip install --no-deps grad-cam ttach`, which leaves OpenCV as it is',
            name='pytorch_grad_cam',
        ) from error

    class Checked(GradCAM):
        def get_cam_weights(self, input_tensor, target_layer, target_category, activations, grads):
            if grads is None:
                raise ValueError('the scores do not depend on this layer; name another one')
            return super().get_cam_weights(input_tensor, target_layer, target_category, activations, grads)

    cam = Checked(classifier, [layer], maps)
    try:
        return cam(images, [ClassifierOutputTarget(target) for target in targets])
    finally:
        cam.activations_and_grads.release()
        classifier.zero_grad()
