"""Value of a share by its company's figures: formulas over arrays, one file each. No choice of statements."""
