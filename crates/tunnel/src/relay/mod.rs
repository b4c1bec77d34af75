//! Placeholder.
#[cfg(test)]
pub(crate) mod sim;
