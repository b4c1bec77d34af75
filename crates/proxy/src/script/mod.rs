//! The program of a server or a location: `rewrite`, `if`, `set`, `break` and `return`, run in the
//! order of the file.
//!
//! It does what nginx's script engine does. The phases call it; the builder makes programs from the
//! grammars in `modules`. An `if` of a location puts its own location in the place of the one around
//! it, and the program goes on behind it.

mod file_test;
mod rewriting;

use crate::config::Location;
use crate::content;
use crate::error_log;
use crate::modules::error_log::Severity;
use crate::modules::return_status::Return;
use crate::modules::rewrite::{Condition, Rewrite};
use crate::phase::Step;
use crate::regex::Regex;
use crate::request::Request;
use bytes::Bytes;
use perdura_conf::{Size, Template, VariableId};
use std::sync::Arc;

/// One directive of a program.
pub enum Code {
    Set {
        target: Target,
        value: Template,
    },
    If {
        condition: Condition,
        /// What holds for the request from here on; none in the body of a server.
        location: Option<Arc<Location>>,
        body: Vec<Code>,
    },
    Rewrite(Rewrite),
    Return(Return),
    Break,
}

/// What a `set` changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Variable(VariableId),
    /// `$args`, which is a part of the request.
    Args,
    /// `$limit_rate`, which paces the response.
    LimitRate,
}

/// Whether the program goes on behind a directive.
enum Flow {
    GoOn,
    End(Step),
}

/// Runs a program; [`Step::Next`] when none of its directives answers the request.
pub fn run(request: &mut Request, program: &[Code]) -> Step {
    if program.is_empty() {
        return Step::Next;
    }
    let log = match request.location.rewrite.rewrite_log.0 {
        true => Log::On,
        false => Log::Off,
    };
    match codes(request, program, log) {
        Flow::GoOn => Step::Next,
        Flow::End(step) => step,
    }
}

/// Whether matches are written to the error log. As in nginx it holds for the whole program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Log {
    On,
    Off,
}

impl Log {
    fn write(self, request: &Request, message: impl FnOnce() -> String) {
        if self == Log::On {
            error_log::request(request, Severity::Notice, &message());
        }
    }
}

/// `if` does not nest, so this calls itself once at most.
fn codes(request: &mut Request, program: &[Code], log: Log) -> Flow {
    for code in program {
        let flow = match code {
            Code::Set { target, value } => set(request, *target, value),
            Code::If { condition, location, body } => {
                match holds(request, condition, log) {
                    Err(MatchFailed) => Flow::End(Step::Refuse(500)),
                    Ok(false) => Flow::GoOn,
                    Ok(true) => {
                        // The settings inside hold from here on, also behind the block.
                        if let Some(location) = location {
                            request.enter(Arc::clone(location));
                        }
                        codes(request, body, log)
                    }
                }
            }
            Code::Rewrite(rewrite) => rewriting::run(request, rewrite, log),
            Code::Return(action) => {
                // A text may name `$status`, which is the one it will have.
                request.sent.status = action.status;
                Flow::End(content::return_step(request, action))
            }
            Code::Break => {
                request.stay();
                Flow::End(Step::Next)
            }
        };
        if let Flow::End(step) = flow {
            return Flow::End(step);
        }
    }
    Flow::GoOn
}

fn set(request: &mut Request, target: Target, value: &Template) -> Flow {
    let value = request.value(value);
    match target {
        Target::Variable(id) => {
            request.memo.borrow_mut().insert(id, Some(Bytes::from(value)));
        }
        Target::LimitRate => match Size::parse(&value) {
            Some(rate) => request.limit_rate = Some(rate),
            None => {
                let message = format!("invalid size \"{}\"", String::from_utf8_lossy(&value));
                error_log::request(request, Severity::Error, &message);
            }
        },
        Target::Args => {
            request.args = value;
            request.is_unchanged = false;
        }
    }
    Flow::GoOn
}

/// A pattern could not be tried; the error log says why.
struct MatchFailed;

fn holds(request: &Request, condition: &Condition, log: Log) -> Result<bool, MatchFailed> {
    let value_of = |variable: &VariableId| {
        let mut value = Vec::new();
        if !request.variable(*variable, &mut value) {
            value.clear();
        }
        value
    };
    match condition {
        Condition::Truth(variable) => {
            let value = value_of(variable);
            Ok(!value.is_empty() && value != b"0")
        }
        Condition::Equal { variable, value, negated } => {
            Ok((value_of(variable) == request.value(value)) != *negated)
        }
        Condition::Matches { variable, regex, negated } => {
            Ok(matches(request, regex, &value_of(variable), log)? != *negated)
        }
        Condition::File { path, test, negated } => {
            Ok(file_test::holds(request, request.value(path), *test) != *negated)
        }
    }
}

/// Whether `subject` matches; its captures are kept, and a pattern that does not match leaves none.
fn matches(
    request: &Request,
    regex: &Regex,
    subject: &[u8],
    log: Log,
) -> Result<bool, MatchFailed> {
    let shown = |verb: &str| {
        format!("\"{}\" {verb} \"{}\"", regex.pattern, String::from_utf8_lossy(subject))
    };
    match regex.captures(subject) {
        Ok(Some(captures)) => {
            log.write(request, || shown("matches"));
            request.take_captures(regex, captures);
            Ok(true)
        }
        Ok(None) => {
            log.write(request, || shown("does not match"));
            *request.captures.borrow_mut() = None;
            Ok(false)
        }
        Err(why) => {
            error_log::request(request, Severity::Alert, &why);
            Err(MatchFailed)
        }
    }
}
