"""One contract, several drivers: the same tests over the fakes and the real ones."""
