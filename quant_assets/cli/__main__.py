"""`python -m quant_assets.cli`: the command where its script is not installed."""

from quant_assets.cli import main

if __name__ == "__main__":
    main()
