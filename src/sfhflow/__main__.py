"""`python -m sfhflow` is the command `sfhflow`."""

from sfhflow.cli import main

if __name__ == "__main__":
    main()
