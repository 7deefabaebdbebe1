"""What happens to a batch between the loader and the model."""

from .bag_data_preprocessor import BagDataPreprocessor
from .batch_views import BatchViews
from .token_data_preprocessor import TokenDataPreprocessor
from .view_data_preprocessor import ViewDataPreprocessor

__all__ = ['BagDataPreprocessor', 'BatchViews', 'TokenDataPreprocessor', 'ViewDataPreprocessor']
