//! A page with the numbers of connections and requests.

use perdura_conf::{Arity, Fault, Reader, Value, Word, directives};

directives! {
    /// Answers with how many connections there are and were, and how many requests. The numbers are
    /// those of the worker: a reload keeps them, a new worker begins at zero. A tunnel counts as
    /// active and writing.
    stub_status: StubStatus = "", in SERVER | LOCATION;
}

/// Whether the page is here. nginx takes any one word behind the name, and so does this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StubStatus(pub bool);

impl Value for StubStatus {
    const SYNTAX: &'static str = "[word]";
    const ARITY: Arity = Arity::between(0, 1);
    const INHERITS: bool = false;

    fn read(_args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self(true))
    }

    fn again(&mut self, _next: Self, _reader: &Reader<'_>) -> Result<(), Fault> {
        Ok(())
    }

    fn absent() -> Option<Self> {
        Some(Self(false))
    }
}
