"""What can be known before a long run: is the installation sound, and does a config fit its data and weights.

``tools/doctor.py`` is the command. A *fault* is something a run would stumble over or, worse, would not notice; a
*notice* is worth a line and stops nothing.
"""

from .config_check import check_config
from .environment import check_environment
from .findings import Report

__all__ = ['Report', 'check_config', 'check_environment']
