"""`python -m hardprompt.cli` is the program."""

import sys

if not sys.flags.safe_path:  # -m puts first where the user stands, and a json.py there would take the place of Python's
    sys.path.append(sys.path.pop(0))

from hardprompt.cli.main import main

sys.exit(main())
