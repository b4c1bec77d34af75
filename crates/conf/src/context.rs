//! The contexts of nginx's language: the blocks in which a directive may stand.

/// A block in which directives stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Context {
    Main,
    Events,
    Http,
    Server,
    Location,
    /// `if` in a server: it changes the request, not what holds for it.
    ServerIf,
    /// `if` in a location: a location of its own for the requests that meet the condition.
    LocationIf,
    LimitExcept,
    Upstream,
    /// `map`, `types` and their like: every line is an entry, not a directive.
    Table,
}

impl Context {
    pub const ALL: [Context; 10] = [
        Context::Main,
        Context::Events,
        Context::Http,
        Context::Server,
        Context::Location,
        Context::ServerIf,
        Context::LocationIf,
        Context::LimitExcept,
        Context::Upstream,
        Context::Table,
    ];

    /// The name that messages and the manual use.
    pub const fn name(self) -> &'static str {
        match self {
            Context::Main => "main",
            Context::Events => "events",
            Context::Http => "http",
            Context::Server => "server",
            Context::Location => "location",
            Context::ServerIf => "if in server",
            Context::LocationIf => "if in location",
            Context::LimitExcept => "limit_except",
            Context::Upstream => "upstream",
            Context::Table => "table",
        }
    }
}

/// A set of [`Context`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contexts(u16);

impl Contexts {
    pub const NONE: Contexts = Contexts(0);
    pub const MAIN: Contexts = Contexts::of(Context::Main);
    pub const EVENTS: Contexts = Contexts::of(Context::Events);
    pub const HTTP: Contexts = Contexts::of(Context::Http);
    pub const SERVER: Contexts = Contexts::of(Context::Server);
    pub const LOCATION: Contexts = Contexts::of(Context::Location);
    pub const SERVER_IF: Contexts = Contexts::of(Context::ServerIf);
    pub const LOCATION_IF: Contexts = Contexts::of(Context::LocationIf);
    /// `if` wherever it stands.
    pub const IF: Contexts = Contexts::SERVER_IF.or(Contexts::LOCATION_IF);
    pub const LIMIT_EXCEPT: Contexts = Contexts::of(Context::LimitExcept);
    pub const UPSTREAM: Contexts = Contexts::of(Context::Upstream);

    pub const fn of(context: Context) -> Contexts {
        Contexts(1 << context as u8)
    }

    pub const fn or(self, other: Contexts) -> Contexts {
        Contexts(self.0 | other.0)
    }

    pub const fn has(self, context: Context) -> bool {
        self.0 & (1 << context as u8) != 0
    }

    /// The contexts of the set, outermost first.
    pub fn iter(self) -> impl Iterator<Item = Context> {
        Context::ALL.into_iter().filter(move |&context| self.has(context))
    }
}
