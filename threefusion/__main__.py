"""`python -m threefusion …` is the same as the installed command `threefusion …`."""

from threefusion.cli.main import main

if __name__ == "__main__":
    main()
