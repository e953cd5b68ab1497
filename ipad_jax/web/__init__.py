"""The page in a browser: looks at run folders and starts commands. It imports no model and no JAX."""
