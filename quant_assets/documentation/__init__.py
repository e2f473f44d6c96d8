"""The reference pages of the documentation, written from the code: commands, settings, datasets, windows.

`python -m quant_assets.documentation.reference docs/reference` (`make docs`) writes them. Pages that people write are
in `docs`.
"""
