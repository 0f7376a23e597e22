"""Start the command line, or name the package that it needs."""

import sys


def main() -> None:
    """Run ``tempered-ebm``; without the ``train`` extra, name it in one line."""
    try:
        from tempered_ebm.cli.main import main as run
    except ModuleNotFoundError as error:
        needed = f"the command line needs the package {error.name}"
        print(f"tempered-ebm: {needed}; install 'tempered-ebm[train]'", file=sys.stderr)
        raise SystemExit(2) from None
    run()


if __name__ == "__main__":
    main()
