"""Command line of the scaling suite; see the package."""

from benchmarks.scaling.suite import main

if __name__ == "__main__":
    main()
