//! Whatever a specification says, planning answers.
