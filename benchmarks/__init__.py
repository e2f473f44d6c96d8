"""Speed against peers: `make bench`. One file `bench_<topic>.py` for each topic, with `measure() -> list[Ratio]`."""
