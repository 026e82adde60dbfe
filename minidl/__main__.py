"""`python -m minidl`: the same as `minidl.cli.main()`."""
from minidl.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
