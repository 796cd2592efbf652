//! The program as its callers meet it: each test runs the real one, on the real kernel, as root.

mod concurrency;
mod errors;
mod exec;
mod faults;
mod gate;
mod life;
mod limits;
mod streams;
mod support;
mod terminal;
