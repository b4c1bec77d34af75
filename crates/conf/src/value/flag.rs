//! `on` and `off`.

use crate::{Arity, Fault, Reader, Value, Word};

/// `on` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag(pub bool);

impl Value for Flag {
    const SYNTAX: &'static str = "on | off";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        // nginx compares without regard to case.
        if args[0].bytes.eq_ignore_ascii_case(b"on") {
            return Ok(Flag(true));
        }
        if args[0].bytes.eq_ignore_ascii_case(b"off") {
            return Ok(Flag(false));
        }
        let mut fault = reader.invalid(&args[0]);
        fault.message.push_str(", it must be \"on\" or \"off\"");
        Err(fault)
    }
}
