//! The table of directives: each is written down once, and everything else is derived from it.
//!
//! `directives!` makes, for one module, the `Written` struct (what stood in a block), the `Settings`
//! struct (what holds there) and the `SPECS` table; `modules!` joins the modules of one kind of
//! block. Whoever builds the configuration walks the document and calls `Written::set`.

use crate::lexer;
use crate::value::{Reader, Value};
use crate::{Context, Contexts, Fault, Statement, suggest};

/// How many arguments a directive takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arity {
    pub least: usize,
    pub most: usize,
}

impl Arity {
    pub const NONE: Arity = Arity::exactly(0);

    pub const fn exactly(count: usize) -> Arity {
        Arity { least: count, most: count }
    }

    pub const fn between(least: usize, most: usize) -> Arity {
        Arity { least, most }
    }

    pub const fn at_least(least: usize) -> Arity {
        Arity { least, most: usize::MAX }
    }

    pub const fn allows(self, count: usize) -> bool {
        self.least <= count && count <= self.most
    }
}

/// What kind of directive an [`Entry`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `name arguments;` that sets a field.
    Setting,
    /// `name arguments { ... }` that opens a context.
    Block(Context),
    /// `name arguments;` that appends to the program of its block (`return`, `rewrite`).
    Action,
}

/// What the manual and the checks know of a directive.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub name: &'static str,
    pub kind: Kind,
    pub contexts: Contexts,
    pub syntax: &'static str,
    pub arity: Arity,
    /// The text of the default; empty when there is none.
    pub default: &'static str,
    pub doc: &'static str,
}

/// A directive of a module whose `Written` is `W`.
pub struct Spec<W: 'static> {
    pub entry: Entry,
    pub set: fn(&mut W, &Statement, &mut Reader<'_>) -> Result<(), Fault>,
    /// Reads the default as the grammar would.
    pub check_default: fn(&mut Reader<'_>) -> Result<(), Fault>,
}

/// The fault of a known directive that stands where it may not; `allowed` is where it may.
pub fn misplaced(statement: &Statement, allowed: Contexts) -> Fault {
    let name = statement.name.text();
    let allowed: Vec<_> = allowed.iter().map(Context::name).collect();
    Fault::new(statement.name.place, format!("\"{name}\" directive is not allowed here"))
        .hint(format!("\"{name}\" is allowed in: {}", allowed.join(", ")))
}

/// The fault of a directive that nobody knows, with the nearest of the `known` names as its hint.
pub fn unknown_directive<'a>(
    statement: &Statement,
    known: impl IntoIterator<Item = &'a str>,
) -> Fault {
    let name = statement.name.text();
    let fault = Fault::new(statement.name.place, format!("unknown directive \"{name}\""));
    // nginx takes a byte order mark for a part of the first name, and so does this reader.
    if name.starts_with('\u{feff}') {
        return fault.hint("the file begins with a byte order mark: save it as UTF-8 without one");
    }
    match suggest(&name, known) {
        Some(nearest) => fault.hint(format!("did you mean \"{nearest}\"?")),
        None => fault,
    }
}

/// Checks everything about a statement that does not need its grammar: context, block or not, and
/// the number of arguments, in the order and the words of nginx's `ngx_conf_handler`.
pub fn check_entry(entry: &Entry, statement: &Statement, context: Context) -> Result<(), Fault> {
    let name = entry.name;
    let place = statement.name.place;
    if !entry.contexts.has(context) {
        return Err(misplaced(statement, entry.contexts));
    }
    let wants_block = matches!(entry.kind, Kind::Block(_));
    if wants_block && statement.block.is_none() {
        return Err(Fault::new(place, format!("directive \"{name}\" has no opening \"{{\""))
            .hint(format!("syntax: {name} {} {{ ... }}", entry.syntax)));
    }
    if !wants_block && statement.block.is_some() {
        return Err(Fault::new(place, format!("directive \"{name}\" is not terminated by \";\"")));
    }
    if !entry.arity.allows(statement.args.len()) {
        return Err(Fault::new(
            place,
            format!("invalid number of arguments in \"{name}\" directive"),
        )
        .hint(format!("syntax: {name} {}", entry.syntax)));
    }
    Ok(())
}

/// Reads a statement's arguments into a field of `Written`.
pub fn read_into<T: Value>(
    field: &mut Option<T>,
    statement: &Statement,
    reader: &mut Reader<'_>,
) -> Result<(), Fault> {
    let value = T::read(&statement.args, reader);
    let Some(first) = field else {
        *field = Some(value?);
        return Ok(());
    };
    match value {
        Ok(value) => first.again(value, reader),
        // nginx looks for a duplicate before it looks at the value.
        Err(fault) => Err(first.clone().again(first.clone(), reader).err().unwrap_or(fault)),
    }
}

/// The value of a default text, through the same grammar as any other.
///
/// # Panics
/// When the text does not obey the grammar: a mistake in the table, which the test of the table
/// finds.
pub fn read_default<T: Value>(name: &str, text: &str, reader: &mut Reader<'_>) -> T {
    if text.is_empty()
        && let Some(value) = T::absent()
    {
        return value;
    }
    read_text(text, reader)
        .unwrap_or_else(|fault| panic!("default of \"{name}\" is not valid: {}", fault.message))
}

/// Whether the text of a default obeys its grammar; for the test of the table.
pub fn check_default<T: Value>(text: &str, reader: &mut Reader<'_>) -> Result<(), Fault> {
    if text.is_empty() && T::absent().is_some() {
        return Ok(());
    }
    read_text::<T>(text, reader).map(|_| ())
}

fn read_text<T: Value>(text: &str, reader: &mut Reader<'_>) -> Result<T, Fault> {
    let words = lexer::words_of_default(text);
    if words.is_empty() && T::ARITY.least > 0 {
        return Err(Fault::nowhere("an empty default needs a grammar that can be absent"));
    }
    T::read(&words, reader)
}

/// Declares the directives of one module:
///
/// ```text
/// directives! {
///     /// One sentence for the manual.
///     field: Grammar = "text of the default", in HTTP | SERVER;
///     /// A directive whose name is a keyword of Rust has the name before the field.
///     "return" return_status: Option<Return> = "", in SERVER;
///     => also {
///         /// Adds to the field of another directive, whose grammar sees by the name which it is;
///         /// it has a syntax and a number of arguments of its own.
///         "deny" rules: "address", 1..=1, in SERVER;
///     }
/// }
/// ```
#[macro_export]
macro_rules! directives {
    (@name $name:ident) => { stringify!($name) };
    (@name $name:ident $text:literal) => { $text };
    ( $(
        $(#[doc = $doc:literal])*
        $($text:literal)? $name:ident : $type:ty = $default:literal, in $($context:ident)|+ ;
    )*
    $( => also { $(
        $(#[doc = $also_doc:literal])*
        $also:literal $also_name:ident : $syntax:literal, $least:literal ..= $most:literal,
            in $($also_context:ident)|+ ;
    )* } )? ) => {
        /// What stood in one block.
        #[derive(Clone, Default)]
        pub struct Written { $( pub $name: Option<$type>, )* }

        /// What holds in one block: its own, an outer one's, or the default.
        #[derive(Clone)]
        pub struct Settings { $( $(#[doc = $doc])* pub $name: $type, )* }

        /// The directives of this module.
        pub const SPECS: &[$crate::Spec<Written>] = &[ $(
            $crate::Spec {
                entry: $crate::Entry {
                    name: $crate::directives!(@name $name $($text)?),
                    kind: $crate::Kind::Setting,
                    contexts: $crate::Contexts::NONE $( .or($crate::Contexts::$context) )+,
                    syntax: <$type as $crate::Value>::SYNTAX,
                    arity: <$type as $crate::Value>::ARITY,
                    default: $default,
                    doc: concat!($($doc, "\n"),*),
                },
                set: |written, statement, reader| {
                    $crate::read_into(&mut written.$name, statement, reader)
                },
                check_default: |reader| $crate::check_default::<$type>($default, reader),
            },
        )* $( $(
            $crate::Spec {
                entry: $crate::Entry {
                    name: $also,
                    kind: $crate::Kind::Setting,
                    contexts: $crate::Contexts::NONE $( .or($crate::Contexts::$also_context) )+,
                    syntax: $syntax,
                    arity: $crate::Arity::between($least, $most),
                    default: "",
                    doc: concat!($($also_doc, "\n"),*),
                },
                set: |written, statement, reader| {
                    $crate::read_into(&mut written.$also_name, statement, reader)
                },
                check_default: |_| Ok(()),
            },
        )* )? ];

        impl Written {
            /// Takes from the outer block what this one does not have.
            pub fn inherit(&mut self, outer: &Written) {
                let _ = outer;
                $(
                    match (&mut self.$name, &outer.$name) {
                        (Some(own), Some(outer)) => $crate::Value::complete(own, outer),
                        (own @ None, outer) if <$type as $crate::Value>::INHERITS => {
                            own.clone_from(outer);
                        }
                        _ => {}
                    }
                )*
            }

            /// What holds here, with defaults filled in.
            pub fn settle(self, reader: &mut $crate::Reader<'_>) -> Settings {
                let _ = &reader;
                Settings { $(
                    $name: match self.$name {
                        Some(value) => value,
                        None => {
                            let name = $crate::directives!(@name $name $($text)?);
                            $crate::read_default(name, $default, reader)
                        }
                    },
                )* }
            }
        }
    };
}

/// Joins modules into the settings of one kind of block. The order is the order of the manual.
#[macro_export]
#[allow(
    clippy::crate_in_macro_def,
    reason = "the modules that are joined stand in the caller's crate, under crate::modules"
)]
macro_rules! modules {
    ( $( $module:ident ),* $(,)? ) => {
        /// What stood in one block, by module.
        #[derive(Clone, Default)]
        pub struct Written { $( pub $module: $crate::modules!(@path $module Written), )* }

        /// What holds in one block, by module.
        #[derive(Clone)]
        pub struct Settings { $( pub $module: $crate::modules!(@path $module Settings), )* }

        /// Every entry of these modules, with the module's name.
        pub fn entries() -> Vec<(&'static str, $crate::Entry)> {
            let mut list = Vec::new();
            $(
                let specs = $crate::modules!(@path $module SPECS).iter();
                list.extend(specs.map(|spec| (stringify!($module), spec.entry)));
            )*
            list
        }

        /// The defaults that do not obey their own grammar; for the test of the table.
        pub fn default_faults(reader: &mut $crate::Reader<'_>) -> Vec<String> {
            let mut list = Vec::new();
            $(
                for spec in $crate::modules!(@path $module SPECS) {
                    if let Err(fault) = (spec.check_default)(reader) {
                        let (module, name) = (stringify!($module), spec.entry.name);
                        let message = fault.message;
                        list.push(format!("{module}: default of \"{name}\": {message}"));
                    }
                }
            )*
            list
        }

        impl Written {
            /// Reads a statement if it belongs to one of these modules.
            pub fn set(
                &mut self,
                statement: &$crate::Statement,
                context: $crate::Context,
                reader: &mut $crate::Reader<'_>,
            ) -> Option<Result<(), $crate::Fault>> {
                // One name can stand for different directives: (name, context) is the key.
                let mut elsewhere = $crate::Contexts::NONE;
                $(
                    for spec in $crate::modules!(@path $module SPECS) {
                        if !statement.name.is(spec.entry.name) {
                            continue;
                        }
                        if spec.entry.contexts.has(context) {
                            return Some(
                                $crate::check_entry(&spec.entry, statement, context)
                                    .and_then(|()| (spec.set)(&mut self.$module, statement, reader)),
                            );
                        }
                        elsewhere = elsewhere.or(spec.entry.contexts);
                    }
                )*
                (elsewhere != $crate::Contexts::NONE)
                    .then(|| Err($crate::misplaced(statement, elsewhere)))
            }

            pub fn inherit(&mut self, outer: &Written) {
                $( self.$module.inherit(&outer.$module); )*
            }

            pub fn settle(self, reader: &mut $crate::Reader<'_>) -> Settings {
                Settings { $( $module: self.$module.settle(reader), )* }
            }
        }
    };
    (@path $module:ident $item:ident) => { crate::modules::$module::$item };
}
