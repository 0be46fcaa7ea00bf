"""on-terminal.py COMMAND…: runs the command on a terminal of its own; what it writes there is our output, its exit code ours."""

import os
import pty
import sys

sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
