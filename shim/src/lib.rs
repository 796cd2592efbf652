//! containerd-shim-loment-v2, the containerd shim.
