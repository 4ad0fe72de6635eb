"""The artifact and what comes out of it: results, measurements, latency tables, reports."""
