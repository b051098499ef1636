"""The dynamic batcher: waiting requests become batches whenever an instance is free."""
