//! One word of a few, as an enum.

use crate::{Fault, Word, suggest};

/// Declares an enum whose variants are words of the configuration, with its grammar:
///
/// ```
/// perdura_conf::choice! {
///     /// What `if_modified_since` compares.
///     pub enum Comparison { Off = "off", Exact = "exact", Before = "before" }
/// }
/// ```
#[macro_export]
macro_rules! choice {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $name:ident {
            $first:ident = $first_word:literal
            $(, $variant:ident = $word:literal)* $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $name { $first, $($variant,)* }

        impl $name {
            /// Every word with what it means.
            pub const WORDS: &'static [(&'static str, $name)] =
                &[($first_word, $name::$first), $(($word, $name::$variant),)*];
        }

        impl $crate::Value for $name {
            const SYNTAX: &'static str = concat!($first_word $(, " | ", $word)*);
            const ARITY: $crate::Arity = $crate::Arity::exactly(1);

            fn read(
                args: &[$crate::Word],
                _reader: &mut $crate::Reader<'_>,
            ) -> Result<Self, $crate::Fault> {
                $crate::read_choice(&args[0], $name::WORDS)
            }
        }
    };
}

/// The meaning of `word` among `words`; compared without regard to case, as
/// `ngx_conf_set_enum_slot` does, and with its message.
pub fn read_choice<T: Copy>(word: &Word, words: &[(&'static str, T)]) -> Result<T, Fault> {
    let same = |text: &str| word.bytes.eq_ignore_ascii_case(text.as_bytes());
    if let Some((_, value)) = words.iter().find(|(text, _)| same(text)) {
        return Ok(*value);
    }
    let text = word.text();
    let fault = Fault::new(word.place, format!("invalid value \"{text}\""));
    let names = words.iter().map(|(text, _)| *text);
    Err(match suggest(&text, names.clone()) {
        Some(nearest) => fault.hint(format!("did you mean \"{nearest}\"?")),
        None => fault.hint(format!("write one of: {}", names.collect::<Vec<_>>().join(", "))),
    })
}
