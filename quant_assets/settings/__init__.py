"""Typed settings: `conf/base.yaml`, then `conf/profiles/<profile>.yaml`, then `QUANT__…` environment variables.

Every default of the project lives in those files or in the models of this package, nowhere else: `domain` has those of
what is computed, `providers` those of where data come from, `loading` the platform's own and all of them together.
Domain functions take the model they need as an argument and never load settings themselves.
"""
