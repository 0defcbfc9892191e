"""`python -m findings` is the command `findings`."""

import sys

from findings.cli import main

sys.exit(main())
