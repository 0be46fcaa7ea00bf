"""on-terminal.py COMMAND…: runs the command on a terminal of its own; its output there becomes our output, and its exit code ours."""

import os
import pty
import sys

sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
