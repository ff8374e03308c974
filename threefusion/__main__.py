"""`python -m threefusion …` is the same as the installed command `threefusion …`."""

from threefusion.cli.main import program

if __name__ == "__main__":
    program()
