//! The namespace laboratory: what namespaces there are on this machine and what keeps them, and sandboxes that are made by
//! hand, without containerd.
//!
//! | file | subject |
//! |---|---|
//! | `kind` | the kinds of namespaces, how one is named |
//! | `survey`, `look/` | the facts of a moment; how they are read |
//! | `model` | every namespace with its relations and holders: a function of a survey |
//! | `whose` | which pod, container or sandbox a process belongs to |
//! | `target` | what a command line means: a process, a sandbox, a pod, a namespace |
//! | `lab/` | sandboxes: made, pinned, entered, removed |
//! | `cost` | what each kind costs to make, join and drop |
//! | `map/` | who is in which namespace, as a tree, as DOT, as a picture |

pub(crate) mod cost;
pub(crate) mod kind;
pub(crate) mod lab;
pub(crate) mod look;
pub(crate) mod map;
pub(crate) mod model;
pub(crate) mod survey;
pub(crate) mod target;
pub(crate) mod whose;
