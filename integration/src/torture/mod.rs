//! Pods that are tormented: a process is killed, or a system call fails, in the middle of what is asked for, again and
//! again, and afterwards the node has to be as it was.
//!
//! A round is drawn from a seed ([`plan`]). The pod is brought to where the operation begins ([`scene`]); the operation is
//! asked for while every system call of the shim and of what it starts is watched ([`watch`]): its number, and the phase
//! of a start that it follows ([`phases`]), say when to strike. Then the pod is removed as any client would, and a census
//! says what is left ([`aftermath`]). Under [`load`] nothing is struck: it is only much, and must not grow.

mod aftermath;
pub mod calls;
mod growth;
mod instant;
pub mod load;
mod phases;
pub mod plan;
pub mod report;
pub mod rounds;
mod scene;
mod watch;
