//! Who may ask, by address.

use crate::cidr::{Cidr, Read};
use crate::grammar::low_bits;
use crate::request::Peer;
use perdura_conf::{Arity, Each, Fault, Reader, Statement, Value, Word, directives};

directives! {
    /// Lets these addresses in: an address, a network, `unix:` or `all`. Rules are looked at in the
    /// order of the file, `allow` and `deny` together; the first that fits decides. A block that has
    /// one of the two inherits neither.
    "allow" rules: Each<Rule> = "", in HTTP | SERVER | LOCATION | LIMIT_EXCEPT;
    => also {
        /// Keeps these addresses out, with 403. See `allow`.
        "deny" rules: "address | CIDR | unix: | all", 1..=1, in HTTP | SERVER | LOCATION | LIMIT_EXCEPT;
    }
}

/// One `allow` or `deny`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub who: Who,
    pub verdict: Verdict,
}

/// Whom a rule speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    All,
    Unix,
    Network(Cidr),
}

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    Deny,
}

impl Value for Rule {
    const SYNTAX: &'static str = "address | CIDR | unix: | all";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let verdict = if reader.directive.is("allow") { Verdict::Allow } else { Verdict::Deny };
        let who = match &*args[0].text() {
            "all" => Who::All,
            "unix:" => Who::Unix,
            text => match Cidr::read(text) {
                Read::Network(network) | Read::LowBits(network) => Who::Network(network),
                Read::Nothing => {
                    let message = format!("invalid parameter \"{text}\"");
                    return Err(Fault::new(args[0].place, message)
                        .hint("write an address, a network such as 10.0.0.0/8, or \"all\""));
                }
            },
        };
        Ok(Self { who, verdict })
    }
}

impl Settings {
    /// What the first rule that fits says of a client.
    pub fn verdict(&self, peer: &Peer) -> Option<Verdict> {
        let fits = |rule: &&Rule| match (rule.who, peer) {
            (Who::All, _) | (Who::Unix, Peer::Unix) => true,
            (Who::Network(network), Peer::Inet(address)) => network.holds(address.ip()),
            (Who::Unix, Peer::Inet(_)) | (Who::Network(_), Peer::Unix) => false,
        };
        self.rules.0.iter().find(fits).map(|rule| rule.verdict)
    }
}

/// Warns of bits that say nothing.
pub fn check(statement: &Statement) -> Option<Fault> {
    let concerned = ["allow", "deny"].iter().any(|name| statement.name.is(name));
    statement.args.first().filter(|_| concerned).and_then(low_bits)
}
