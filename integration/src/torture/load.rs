//! Much, and for long: what must not grow.
