"""Transforms on numpy images and their records."""

from histomm.datasets.transforms.affine import RandomAffine, RandomMirror, ResizeWhole
from histomm.datasets.transforms.base import RandomTransform, view_generator
from histomm.datasets.transforms.geometric import RandomCrop, RandomFlip, RandomResizedCrop, RandomRotate90
from histomm.datasets.transforms.instances import LoadInstances, PackInstances
from histomm.datasets.transforms.loading import LoadPatch, UnreadableImageError, read_image
from histomm.datasets.transforms.magnifications import MagnificationPairSampler, MagnificationViews
from histomm.datasets.transforms.photometric import ColorJitter, GaussianBlur, RandomGrayscale, RandomSolarize
from histomm.datasets.transforms.reference import BoundingCrop
from histomm.datasets.transforms.seed import SeedGlobalRandom
from histomm.datasets.transforms.stain_jitter import HEDJitter, RandStainNA
from histomm.datasets.transforms.stain_normalize import MacenkoNormalize, ReinhardNormalize
from histomm.datasets.transforms.tokens import PackTokens, TokenCrop, TokenFlip
from histomm.datasets.transforms.view_draws import (
    DrawViews,
    PackDraws,
    UnsupportedViewError,
    ViewDraws,
    making_views,
    view_draws,
)
from histomm.datasets.transforms.views import MultiView, PackViews

__all__ = [
    'BoundingCrop',
    'ColorJitter',
    'DrawViews',
    'GaussianBlur',
    'HEDJitter',
    'LoadInstances',
    'LoadPatch',
    'MacenkoNormalize',
    'MagnificationPairSampler',
    'MagnificationViews',
    'MultiView',
    'PackDraws',
    'PackInstances',
    'PackTokens',
    'PackViews',
    'RandStainNA',
    'RandomAffine',
    'RandomCrop',
    'RandomFlip',
    'RandomGrayscale',
    'RandomMirror',
    'RandomResizedCrop',
    'RandomRotate90',
    'RandomSolarize',
    'RandomTransform',
    'ReinhardNormalize',
    'ResizeWhole',
    'SeedGlobalRandom',
    'TokenCrop',
    'TokenFlip',
    'UnreadableImageError',
    'UnsupportedViewError',
    'ViewDraws',
    'making_views',
    'read_image',
    'view_draws',
    'view_generator',
]
