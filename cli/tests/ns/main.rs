//! `loment ns` on this machine's kernel: what it says is compared with what the kernel says, by inode. Root is needed.

mod cost;
mod crash;
mod enter;
mod holders;
mod map;
mod sandbox;
mod support;
mod tutorial;
