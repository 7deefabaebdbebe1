"""What happens to a batch between the loader and the model."""

from .bag_data_preprocessor import BagDataPreprocessor
from .token_data_preprocessor import TokenDataPreprocessor
from .view_data_preprocessor import ViewDataPreprocessor

__all__ = ['BagDataPreprocessor', 'TokenDataPreprocessor', 'ViewDataPreprocessor']
