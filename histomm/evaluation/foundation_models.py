"""Published pathology encoders that timm can build: their architecture, so that a weight file is all one needs.

The licences of most ask to request the weights from their authors; nothing is downloaded here. Architecture,
normalisation and what counts as the feature are those of the model cards.
"""

from typing import Any, NamedTuple

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of R, G, B for values from 0 to 1."""


class FoundationModel(NamedTuple):
    """How a model is built and fed."""

    architecture: str
    """Name in timm."""
    options: dict[str, Any]
    """Arguments of ``timm.create_model``; layers by name, see :func:`resolve_layers`."""
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET
    """Mean and standard deviation of R, G, B for values from 0 to 1."""
    resize: int = 224
    """Length of the short edge before the centre of 224 is cut out."""
    feature: str = 'pooled'
    """'pooled' is what timm's model pools; 'class+mean' the class token beside the mean of the patch tokens."""


_UNI2 = dict(
    img_size=224,
    patch_size=14,
    depth=24,
    num_heads=24,
    init_values=1e-5,
    embed_dim=1536,
    mlp_ratio=2.66667 * 2,
    no_embed_class=True,
    mlp_layer='SwiGLUPacked',
    act_layer='SiLU',
    reg_tokens=8,
    dynamic_img_size=True,
)
_VIRCHOW = dict(
    img_size=224,
    init_values=1e-5,
    mlp_ratio=5.3375,
    global_pool='',
    mlp_layer='SwiGLUPacked',
    act_layer='SiLU',
    dynamic_img_size=True,
)
_H_OPTIMUS = ((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))

FOUNDATION_MODELS = {
    'MahmoodLab/UNI': FoundationModel(
        'vit_large_patch16_224', dict(img_size=224, init_values=1e-5, dynamic_img_size=True)
    ),
    'MahmoodLab/UNI2-h': FoundationModel('vit_giant_patch14_224', _UNI2),
    'paige-ai/Virchow': FoundationModel('vit_huge_patch14_224', _VIRCHOW, feature='class+mean'),
    'paige-ai/Virchow2': FoundationModel('vit_huge_patch14_224', {**_VIRCHOW, 'reg_tokens': 4}, feature='class+mean'),
    'bioptimus/H-optimus-0': FoundationModel(
        'vit_giant_patch14_reg4_dinov2', dict(img_size=224, init_values=1e-5), _H_OPTIMUS
    ),
    'prov-gigapath/prov-gigapath': FoundationModel(
        'vit_giant_patch14_dinov2',
        dict(img_size=224, patch_size=16, init_values=1e-5, mlp_ratio=5.33334),
        resize=256,
    ),
}
"""Models by their name on the Hugging Face hub, without ``hf-hub:``."""


def resolve_layers(options: dict[str, Any]) -> dict[str, Any]:
    """The options with the layers in place of their names."""
    import timm.layers
    import torch

    layers = {'SwiGLUPacked': timm.layers.SwiGLUPacked, 'SiLU': torch.nn.SiLU}
    return {
        name: layers[value] if isinstance(value, str) and value in layers else value for name, value in options.items()
    }
