"""Published genotypes that ship with the package, one file each; `published.py` reads them."""
