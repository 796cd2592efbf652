//! How the listener of a seccomp filter gets from a child to its parent.
//!
//! From the moment the filter is loaded any system call of the child may be one that waits for the listener's answer,
//! also those that send a descriptor or wait for somebody. So the child makes none: it stores the listener's number in
//! memory that it shares with its parent, and turns round on the spot until the parent has taken a copy of the
//! descriptor (pidfd_getfd(2)) and the agent has it. A helper that shares the child's descriptors could let it sleep,
//! but would leave the container a dead process that nobody reaps.

use std::{
    hint::spin_loop,
    os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd},
};

use loment_sys::shared::{Word, trap};

use crate::{Result, error::Context};

/// What is stored when the agent has the listener; anything else but 0 is the listener's number and one.
const TAKEN: u32 = u32::MAX;

/// How often a child looks before it believes that its parent is dead: some ten seconds of its own.
const PATIENCE: u32 = 1 << 28;

/// The memory in which a child says what its listener's number is.
#[derive(Debug)]
pub(crate) struct Place(Word);

impl Place {
    /// To be made before the child is.
    pub(crate) fn new() -> Result<Self> {
        Word::new().map(Self).at("make", "shared memory for the seccomp listener")
    }

    /// In a child whose gate another process has opened: the place that this one has made.
    pub(crate) fn given(memory: OwnedFd) -> Result<Self> {
        Word::of(memory).map(Self).at("share memory with", "whoever has opened the gate")
    }

    /// What to give to such a child.
    pub(crate) fn memory(&self) -> BorrowedFd<'_> {
        self.0.file()
    }

    /// In the child: makes the number known and comes back when the listener has been handed over. The descriptor
    /// stays open, because closing it is a system call: execve(2) does.
    pub(crate) fn offer(&self, listener: OwnedFd) {
        self.0.set(listener.as_raw_fd().unsigned_abs() + 1);
        let _ = listener.into_raw_fd();
        for _ in 0..PATIENCE {
            if self.0.get() == TAKEN {
                return;
            }
            spin_loop();
        }
        trap()
    }

    /// In the parent: the number, when it is known.
    pub(crate) fn offered(&self) -> Option<i32> {
        self.0.get().checked_sub(1).and_then(|number| i32::try_from(number).ok())
    }

    /// In the parent: lets the child go on.
    pub(crate) fn taken(&self) {
        self.0.set(TAKEN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_known_between_its_offer_and_its_taking() {
        let place = Place::new().unwrap();
        assert_eq!(place.offered(), None);
        place.0.set(1);
        assert_eq!(place.offered(), Some(0));
        place.taken();
        assert_eq!(place.offered(), None);
    }
}
