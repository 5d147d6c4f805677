"""Programs that the tests with a cut network run in a namespace of their own."""
