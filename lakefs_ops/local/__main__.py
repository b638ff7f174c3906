"""``python -m lakefs_ops.local``: the same as ``lakefs-ops local``."""

import argparse
import sys

from lakefs_ops.local.command import add_arguments, run

parser = argparse.ArgumentParser(prog="python -m lakefs_ops.local")
add_arguments(parser)
sys.exit(run(parser.parse_args()))
