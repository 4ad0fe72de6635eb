"""C sources that run on a board behind a TVM RPC server."""
