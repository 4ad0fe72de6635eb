"""What every room of binas speaks: errors, layers, bits, records and the command line."""
