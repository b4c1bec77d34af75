//! The manual, generated from the table of directives.
