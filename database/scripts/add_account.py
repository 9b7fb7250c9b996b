"""`perpkit accounts add` for those who look for a script; same options, same exit codes."""

import sys

from perpkit.cli.main import main

if __name__ == "__main__":
    main(["accounts", "add", *sys.argv[1:]])
