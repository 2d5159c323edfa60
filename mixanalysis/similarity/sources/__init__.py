"""Sources of features: modules that run batch by batch, and files that hold what they gave."""
