//! Data, batches, the training loop, checkpoints, metrics.
