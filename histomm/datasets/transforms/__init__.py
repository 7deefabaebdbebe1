"""Transforms on numpy images and their records."""

from histomm.datasets.transforms.base import RandomTransform, view_generator
from histomm.datasets.transforms.geometric import RandomCrop, RandomFlip, RandomResizedCrop, RandomRotate90
from histomm.datasets.transforms.instances import LoadInstances, PackInstances
from histomm.datasets.transforms.loading import LoadPatch, UnreadableImageError, read_image
from histomm.datasets.transforms.photometric import ColorJitter, GaussianBlur, RandomGrayscale, RandomSolarize
from histomm.datasets.transforms.reference import BoundingCrop
from histomm.datasets.transforms.seed import SeedGlobalRandom
from histomm.datasets.transforms.stain_jitter import HEDJitter, RandStainNA
from histomm.datasets.transforms.stain_normalize import MacenkoNormalize, ReinhardNormalize
from histomm.datasets.transforms.views import MultiView, PackViews

__all__ = [
    'BoundingCrop',
    'ColorJitter',
    'GaussianBlur',
    'HEDJitter',
    'LoadInstances',
    'LoadPatch',
    'MacenkoNormalize',
    'MultiView',
    'PackInstances',
    'PackViews',
    'RandStainNA',
    'RandomCrop',
    'RandomFlip',
    'RandomGrayscale',
    'RandomResizedCrop',
    'RandomRotate90',
    'RandomSolarize',
    'RandomTransform',
    'ReinhardNormalize',
    'SeedGlobalRandom',
    'UnreadableImageError',
    'read_image',
    'view_generator',
]
