//! A private containerd with offline images: the ground that tests and demo stand on.
