"""The engine of declared indicators and features: windows, kernels, declarations, formulas; no indicators."""
