"""Training by minibatch stochastic gradient descent."""
