"""What regions are distilled towards: prototypes, and which of them belong to which region."""

import torch
from torch import Tensor, nn


class PrototypeBank(nn.Module):
    """Rows that a teacher's head maps, and for each region of the data set the rows that it follows.

    Everything is a buffer, so that a run that is killed inside an epoch goes on with the same prototypes; the shapes
    are those of the checkpoint or of what was handed over last.

    Attributes:
        rows: (T, C) float32, prototypes, in some variants followed by embeddings of regions.
        own: (N,) int64, the row of each region's own prototype, −1 for regions without one.
        others: (N, K) int64, the rows of its neighbours, −1 for regions without prototype.
        epoch: () int64, at whose start they were made, −1 for none.
        origin: (32,) uint8, SHA-256 of the regions and options that they were made of, zeros for none.
        supplied: Whether somebody undertook to hand them over, as a hook does before training.
    """

    rows: Tensor
    own: Tensor
    others: Tensor
    epoch: Tensor
    origin: Tensor

    _NAMES = ('rows', 'own', 'others')

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('rows', torch.zeros(0, 0))
        self.register_buffer('own', torch.zeros(0, dtype=torch.long))
        self.register_buffer('others', torch.zeros(0, 0, dtype=torch.long))
        self.register_buffer('epoch', torch.tensor(-1))
        self.register_buffer('origin', torch.zeros(32, dtype=torch.uint8))
        self.supplied = False

    @property
    def filled(self) -> bool:
        """Whether there are prototypes."""
        return len(self.rows) > 0

    def replace(self, rows: Tensor, own: Tensor, others: Tensor, epoch: int, origin: bytes = bytes(32)) -> None:
        """Take new prototypes; see the attributes.

        Raises:
            ValueError: shapes disagree.
        """
        if rows.ndim != 2 or own.ndim != 1 or others.ndim != 2 or len(own) != len(others):
            raise ValueError(
                f'PrototypeBank: rows {tuple(rows.shape)}, own {tuple(own.shape)} and others {tuple(others.shape)}, '
                'expected (T, C), (N,) and (N, K)'
            )
        for name, value in zip(self._NAMES, (rows, own, others), strict=True):
            setattr(self, name, value.to(self.epoch.device))
        self.epoch.fill_(epoch)
        self.origin.copy_(torch.tensor(list(origin)))

    def clear(self) -> None:
        """Forget all prototypes."""
        none = torch.zeros(0, 0)
        self.replace(none, none.flatten().long(), none.long(), -1)

    def wanted(self, regions: list[int]) -> tuple[Tensor, Tensor]:
        """Rows (B,) and (B, K) of regions by their number in the data set.

        Raises:
            ValueError: the prototypes are of fewer regions.
        """
        if max(regions) >= len(self.own):
            raise ValueError(
                f'PrototypeBank: prototypes of {len(self.own)} regions, found region {max(regions)} in the batch; they '
                'belong to another data set'
            )
        index = torch.tensor(regions, device=self.own.device)
        return self.own[index], self.others[index]

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        for name in self._NAMES:
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=self.epoch.device))
        super()._load_from_state_dict(state_dict, prefix, *args)
