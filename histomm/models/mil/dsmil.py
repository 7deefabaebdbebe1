"""DS-MIL, in the variant of HIPT and in that of its authors."""

from collections.abc import Mapping

from mmengine.model import BaseModule
from torch import Tensor, nn

from histomm.functional.bags import (
    attention_pool,
    check_bags,
    critical_instances,
    dual_stream_attention,
    gather_instances,
)
from histomm.registry import MODELS

from .output import BagOutput

_QUERY = 128
_AUTHORS = {
    'i_classifier.fc.0.': 'instance.',
    'b_classifier.q.': 'query.',
    'b_classifier.v.': 'value.',
    'b_classifier.fcc.': 'fc.',
}


@MODELS.register_module()
class DSMIL(BaseModule):
    """Dual-stream MIL: the instance of highest score of each class, and attention to it.

    B. Li, Y. Li, K. Eliceiri. *Dual-stream Multiple Instance Learning Network for Whole Slide Image Classification with
    Self-supervised Contrastive Learning.* CVPR 2021. A linear classifier scores instances; of each class the one of
    highest score is critical. Attention of all instances to it pools them for that class; a convolution over the
    classes' vectors gives the bag's logits. The other stream are the scores of the critical instances.

    Args:
        in_channels: D of the instances.
        num_classes: C.
        variant: 'hipt' has linear queries and values, and one stream of logits, the mean of both; it goes with
            cross-entropy. 'original' has queries of two layers, the instances themselves as values, and both streams;
            it goes with binary cross-entropy, ``criterion='bce'`` of :class:`BagClassifier`.
        dropout: Of the values, in the variant of HIPT.
        init_cfg: Initialisation of mmengine's modules.

    Raises:
        ValueError: another variant.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int = 2,
        variant: str = 'hipt',
        dropout: float = 0.0,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if variant not in ('hipt', 'original'):
            raise ValueError(f"DSMIL: variant is {variant!r}, expected 'hipt' or 'original'")
        self.in_channels, self.variant = in_channels, variant
        self.instance = nn.Linear(in_channels, num_classes)
        if variant == 'hipt':
            self.query: nn.Module = nn.Linear(in_channels, _QUERY)
            self.value: nn.Module = nn.Sequential(nn.Dropout(dropout), nn.Linear(in_channels, in_channels))
        else:
            self.query = nn.Sequential(nn.Linear(in_channels, _QUERY), nn.ReLU(), nn.Linear(_QUERY, _QUERY), nn.Tanh())
            self.value = nn.Identity()
        self.fc = nn.Conv1d(num_classes, num_classes, kernel_size=in_channels)

    def forward(self, bags: Tensor, mask: Tensor | None = None) -> BagOutput:
        """Logits of bags (B, L, D) under a mask (B, L), and attention by class."""
        bags, mask = check_bags(bags, mask, self.in_channels)
        scores = self.instance(bags)
        index = critical_instances(scores, mask)
        highest = scores.gather(1, index[:, None])[:, 0]
        query = self.query(bags)
        attention = dual_stream_attention(query, gather_instances(query, index), mask)
        bag = self.fc(attention_pool(self.value(bags), attention))[..., 0]
        streams = ((bag + highest) / 2,) if self.variant == 'hipt' else (bag, highest)
        return BagOutput(streams, attention)


def from_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a DS-MIL of its authors under the names of :class:`DSMIL`.

    Args:
        state: Their state dict: those of Camelyon16 and TCGA lung are of the variant 'original', what they start from
            has queries and values of 'hipt' alone.

    Raises:
        ValueError: a name that their model does not have.
    """
    found = {}
    for name, value in state.items():
        prefix = next((prefix for prefix in _AUTHORS if name.startswith(prefix)), None)
        if prefix is None:
            raise ValueError(f'{name} is none of {", ".join(f"{prefix}*" for prefix in _AUTHORS)}; is it a DS-MIL?')
        found[_AUTHORS[prefix] + name.removeprefix(prefix)] = value
    return found
