"""The passes and steps once more, as loops over rows and units that Numba compiles.

NumPy goes over memory anew for each of an equation's operations; here they share a pass. The
functions are plain Python, which runs as it stands, slowly: `compiler.compiled` marks them for
Numba. Needs the extra `fast`, and is imported only where `backend.as_backend` chooses it, but for
`layers`, which a user imports in the place of `manual_nn.layers`.
"""
