"""Fan-outs: one source as many batches, each a run of a deployment, so that any number of workers share them."""
