"""Self-supervised learning on histopathology images, as an OpenMMLab package.

Importing the package is light: it registers nothing but names. ``histomm.registry`` loads the registered parts on
demand, by the scope ``histomm``.
"""

from mmengine.config.utils import MODULE2PACKAGE

from .version import __version__

# mmengine resolves `scope::path.py` only for the packages it lists, and looks mmseg up under the name of its upstream
# distribution. The import name is found whatever distribution provides it.
MODULE2PACKAGE.update(histomm='histomm', mmseg='mmseg')

__all__ = ['__version__']
