"""`python -m hardprompt.cli` is the program."""

import sys

from hardprompt.cli.main import main

sys.exit(main())
