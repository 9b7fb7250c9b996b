"""`python -m perpkit`: the command without its script."""

from perpkit.cli.main import main

if __name__ == "__main__":
    main()
