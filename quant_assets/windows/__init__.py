"""The engine of declared indicators and features: windows over a panel, their kernels, declarations and formulas. No one indicator."""
