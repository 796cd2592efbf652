//! A small client for the Kubernetes Container Runtime Interface.
