//! `spec`: a config.json to begin with.

use std::{fs::File, io::Write};

use crate::{
    args::Spec,
    failure::{Context, Failure, Result},
};

/// A shell in a container of its own.
const CONFIG: &str = include_str!("config.json");

pub(crate) fn write(spec: &Spec) -> Result<()> {
    if spec.rootless {
        return Err(Failure::new("spec --rootless: is not supported: containers are made by root"));
    }
    let path = spec.bundle.join("config.json");
    match File::create_new(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Failure::new(format!("write {}: it exists (remove it first)", path.display())))
        }
        file => file.and_then(|mut file| file.write_all(CONFIG.as_bytes())).at("write", path.display()),
    }
}
