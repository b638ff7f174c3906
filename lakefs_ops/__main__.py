"""``python -m lakefs_ops``: see `lakefs_ops.cli`."""

import sys

from lakefs_ops.cli import main

sys.exit(main())
