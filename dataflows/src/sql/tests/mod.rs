//! Plans of whole jobs, their results on small batches, and what is refused.
