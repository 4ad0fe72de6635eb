"""C sources that every artifact is linked from: the C ABI, the thread pool, the harness."""
