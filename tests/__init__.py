"""The tests: manual against JAX, row by row and finite differences, and the tests of those."""
