"""`python -m stepgym` is the `stepgym` command."""

from stepgym.cli import main

if __name__ == "__main__":
    main(prog_name="stepgym")
