"""`python -m onefs`: the command line."""

from onefs.cli.main import main

if __name__ == "__main__":
    main()
