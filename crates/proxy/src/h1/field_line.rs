//! Field lines, read byte by byte as nginx reads them: shared by requests and responses.
//!
//! It finds names and values and says which names nginx would call invalid; what happens to those is
//! for its callers, [`super::request`] and [`super::response`]. No byte is looked at twice.

use super::class::{self, NAME};
use super::fields::FieldSpans;
use super::span::Span;
use memchr::memchr3;

/// What one run of the machine came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldStep {
    /// The text ended before the line did.
    More,
    /// One line.
    Line { spans: FieldSpans, form: FieldForm },
    /// The empty line behind the last field.
    End,
}

/// Whether the line is one that nginx takes without asking `ignore_invalid_headers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldForm {
    Good,
    /// The name holds a byte that it should not.
    BadName,
    /// There is no colon in the line. nginx passes it on with one; here it counts as invalid.
    NoColon,
}

/// What may stand in a name besides letters, digits and `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underscores {
    /// `underscores_in_headers on`, and always in responses.
    Allowed,
    /// `underscores_in_headers off`.
    Invalid,
}

/// The line breaks the grammar: it is `line` up to the culprit, which stands at `line.end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FieldFault {
    pub line: Span,
}

#[derive(Clone, Copy, Debug, Default)]
enum FieldState {
    #[default]
    Start,
    Name {
        start: usize,
        form: FieldForm,
    },
    BeforeValue {
        name: Span,
        form: FieldForm,
    },
    Value {
        name: Span,
        form: FieldForm,
        start: usize,
    },
    /// Behind the CR of a line.
    LineFeed {
        spans: FieldSpans,
        form: FieldForm,
    },
    /// Behind the CR of the empty line, which stands at `start`.
    LastLineFeed {
        start: usize,
    },
}

/// The machine. `at` of its caller is the first byte that it has not seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct FieldMachine {
    state: FieldState,
}

impl FieldMachine {
    /// Where the line begins that is being read; nothing between two lines.
    pub fn line_start(&self) -> Option<usize> {
        match self.state {
            FieldState::Start => None,
            FieldState::Name { start, .. } | FieldState::LastLineFeed { start } => Some(start),
            FieldState::BeforeValue { name, .. } | FieldState::Value { name, .. } => {
                Some(name.start as usize)
            }
            FieldState::LineFeed { spans, .. } => Some(spans.name.start as usize),
        }
    }

    /// Reads on from `at` to the end of the line or of `text`.
    pub fn run(
        &mut self,
        text: &[u8],
        at: &mut usize,
        underscores: Underscores,
    ) -> Result<FieldStep, FieldFault> {
        loop {
            if let FieldState::Name { .. } = self.state {
                *at = class::skip(text, *at, NAME);
            }
            if let FieldState::Value { .. } = self.state {
                let rest = text.get(*at..).unwrap_or_default();
                *at += memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
            }
            let Some(&byte) = text.get(*at) else { return Ok(FieldStep::More) };
            let (next, step) = self.step(text, *at, byte, underscores)?;
            self.state = next;
            *at += 1;
            if step != FieldStep::More {
                return Ok(step);
            }
        }
    }

    fn step(
        &self,
        text: &[u8],
        at: usize,
        byte: u8,
        underscores: Underscores,
    ) -> Result<(FieldState, FieldStep), FieldFault> {
        let on = |state| Ok((state, FieldStep::More));
        let line = |spans, form| Ok((FieldState::Start, FieldStep::Line { spans, form }));
        match self.state {
            FieldState::Start => match byte {
                b'\r' => on(FieldState::LastLineFeed { start: at }),
                b'\n' => Ok((FieldState::Start, FieldStep::End)),
                // Neither a blank (obs-fold) nor an empty name may begin a line.
                b':' => fault(at, at),
                _ => on(FieldState::Name {
                    start: at,
                    form: name_byte(at, at, byte, FieldForm::Good, underscores)?,
                }),
            },
            FieldState::Name { start, form } => match byte {
                b':' => on(FieldState::BeforeValue { name: Span::new(start, at), form }),
                b'\r' => on(FieldState::LineFeed {
                    spans: nameless(start, at),
                    form: FieldForm::NoColon,
                }),
                b'\n' => line(nameless(start, at), FieldForm::NoColon),
                _ => on(FieldState::Name {
                    start,
                    form: name_byte(start, at, byte, form, underscores)?,
                }),
            },
            FieldState::BeforeValue { name, form } => match byte {
                b' ' | b'\t' => on(self.state),
                b'\r' | b'\n' | 0 => self.value_end(text, name, at, at, byte, form),
                _ => on(FieldState::Value { name, form, start: at }),
            },
            FieldState::Value { name, form, start } => {
                self.value_end(text, name, start, at, byte, form)
            }
            FieldState::LineFeed { spans, form } => match byte {
                b'\n' => line(spans, form),
                // nginx takes any number of CR before the LF.
                b'\r' => on(self.state),
                _ => fault(spans.name.start as usize, spans.value.end as usize),
            },
            FieldState::LastLineFeed { start } => match byte {
                b'\n' => Ok((FieldState::Start, FieldStep::End)),
                _ => fault(start, start),
            },
        }
    }

    /// One of CR, LF and NUL behind a value that began at `start`.
    fn value_end(
        &self,
        text: &[u8],
        name: Span,
        start: usize,
        at: usize,
        byte: u8,
        form: FieldForm,
    ) -> Result<(FieldState, FieldStep), FieldFault> {
        if byte == 0 {
            return fault(name.start as usize, at);
        }
        let raw = text.get(start..at).unwrap_or_default();
        let blanks = raw.iter().rev().take_while(|&&byte| matches!(byte, b' ' | b'\t')).count();
        let spans = FieldSpans { name, value: Span::new(start, at - blanks) };
        if byte == b'\r' {
            return Ok((FieldState::LineFeed { spans, form }, FieldStep::More));
        }
        Ok((FieldState::Start, FieldStep::Line { spans, form }))
    }
}

fn fault<T>(start: usize, end: usize) -> Result<T, FieldFault> {
    Err(FieldFault { line: Span::new(start, end) })
}

fn nameless(start: usize, end: usize) -> FieldSpans {
    FieldSpans { name: Span::new(start, end), value: Span::new(end, end) }
}

/// What one more byte makes of a name; blanks and controls end the request.
fn name_byte(
    start: usize,
    at: usize,
    byte: u8,
    form: FieldForm,
    underscores: Underscores,
) -> Result<FieldForm, FieldFault> {
    if class::is(byte, NAME) || byte == b'_' && underscores == Underscores::Allowed {
        return Ok(form);
    }
    if byte <= b' ' || byte == 0x7f {
        return fault(start, at);
    }
    Ok(FieldForm::BadName)
}
