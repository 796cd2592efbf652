//! Names of a specification's fields, for errors.

use std::fmt;

/// A field of one of a list: `mounts[3].options`. It is written out when somebody reads it, which mostly nobody does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    list: &'static str,
    index: Option<usize>,
    name: &'static str,
}

impl Field {
    /// Of an element of a list.
    pub(crate) fn of(list: &'static str, index: usize, name: &'static str) -> Self {
        Self { list, index: Some(index), name }
    }

    /// Of a section.
    pub(crate) fn in_section(section: &'static str, name: &'static str) -> Self {
        Self { list: section, index: None, name }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(f, "{}[{index}].{}", self.list, self.name),
            None => write!(f, "{}.{}", self.list, self.name),
        }
    }
}

impl From<Field> for String {
    fn from(field: Field) -> Self {
        field.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_named_as_the_specification_writes_it() {
        assert_eq!(Field::of("mounts", 3, "options").to_string(), "mounts[3].options");
        assert_eq!(String::from(Field::in_section("linux", "uidMappings")), "linux.uidMappings");
    }
}
