"""`perpkit accounts rotate` for those who look for a script; same options, same exit codes."""

import sys

from perpkit.cli.main import main

if __name__ == "__main__":
    main(["accounts", "rotate", *sys.argv[1:]])
