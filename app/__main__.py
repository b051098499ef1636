"""`python -m app serve` is `bonsai serve`."""

from app.cli import main

if __name__ == "__main__":
    main()
