//! Placeholder.

pub mod h1;
pub mod uri;
