"""Tests of the documents, the names, the imports and the tests."""
