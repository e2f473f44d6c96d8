"""Typed settings: `conf/base.yaml`, then `conf/profiles/<profile>.yaml`, then `QUANT__…` environment variables.

All defaults of the project are in these files or in the models of this package: `domain` has those of computations,
`providers` those of data sources, `loading` those of the platform and all of them together. Domain functions take the
model they need as an argument and never load settings.
"""
