//! A private containerd with offline images: the ground that tests and demo stand on.
//!
//! [`in_lab`] runs a program in a lab: in namespaces of its own ([`isolate`]) with a containerd ([`Lab`]) that knows the
//! runtime classes `loment` and `runc`, each also with [`hooks`] ([`config`]), and has images that were made on this machine ([`images`]). Pods
//! are made and watched through CRI ([`pod`], [`events`]) or with the command for people ([`loment`]). Afterwards a [`census`] says what is left, and nothing stays.

pub mod census;
pub mod config;
pub mod events;
mod files;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "nobody keeps it"))]
pub mod gate;
pub mod hierarchy;
pub mod hooks;
pub mod images;
pub mod isolate;
pub mod lab;
pub mod loment;
pub mod matrix;
mod patience;
pub mod pod;
pub mod process;
pub mod programs;
pub mod requirements;
pub mod results;
pub mod slices;
pub mod supervise;
// System calls are told by their numbers and registers.
#[cfg(target_arch = "x86_64")]
pub mod torture;
pub mod version;

pub use lab::{Choice, Lab, Options};
pub use patience::patience;
pub use supervise::in_lab;
pub use version::{Sandboxer, Version};
