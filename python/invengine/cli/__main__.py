"""`python -m invengine.cli` is the same as `invengine`."""

import sys

from invengine.cli import main

sys.exit(main())
