"""What faces people: command line, pictures, scikit-learn estimator, Dask."""
