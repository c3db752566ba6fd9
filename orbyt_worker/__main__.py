"""`python -m orbyt_worker`."""

from orbyt_worker.cli import main

if __name__ == "__main__":
    main()
