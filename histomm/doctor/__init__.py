"""What can be known before a long run: is the installation sound, and does a config fit its data and weights.

``tools/doctor.py`` is the command. A *fault* is something a run would stumble over or, worse, would not notice; a
*notice* is worth a line and stops nothing.
"""
