//! The messages of the DNS (RFC 1035, 4): questions out, answers in.
//!
//! It reads bytes that may be anything, asks nobody and keeps nothing; `exchange` and the fuzz target
//! call it.

use super::name::{Name, WIRE_SIZE_MAX};
use std::net::IpAddr;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    A,
    Aaaa,
}

impl Kind {
    fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

/// Writes the question for a name: recursion is wanted, nothing else.
pub fn query(id: u16, name: &Name, kind: Kind) -> Vec<u8> {
    const RECURSION_DESIRED: u16 = 0x0100;
    let mut out = Vec::with_capacity(HEAD_SIZE + name.wire().len() + 4);
    for number in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(name.wire());
    out.extend_from_slice(&kind.number().to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    out
}

/// An answer, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// It did not fit the packet: TCP brings the whole one.
    pub is_truncated: bool,
    /// RCODE; 0 is no error.
    pub code: u8,
    records: Vec<Record>,
}

/// What an answer holds of use here, each with the name that it speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    owner: Name,
    ttl_s: u32,
    data: Data,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Data {
    Address(IpAddr),
    Alias(Name),
}

/// Where an answer leads from a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No more addresses than [`ADDRESSES_MAX`]; they hold for so many seconds.
    Addresses(Vec<IpAddr>, u32),
    /// The name is another name's alias, of which this answer says nothing.
    Alias(Name, u32),
    Nothing,
    /// Aliases that lead to each other, or too many.
    Endless,
}

/// Why a message is not the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageFault {
    /// It ends within a record.
    Short,
    /// A question, not an answer.
    NoAnswer,
    /// The answer to another question: somebody guesses, or it comes late.
    OtherQuestion,
    /// A name that is too long, or whose pointers lead nowhere or in circles.
    BadName,
}

/// Addresses of one name that are used, at most.
pub const ADDRESSES_MAX: usize = 256;

/// Aliases that are followed from one name, as many as nginx follows.
pub const ALIASES_MAX: usize = 50;

/// Records of an answer that are looked at: a message of 64 KiB has no more than some 4,700.
const RECORDS_MAX: usize = 4096;

/// Pointers within one name. A label lies between two in any message that somebody meant.
const JUMPS_MAX: usize = 128;

const HEAD_SIZE: usize = 12;
const CLASS_IN: u16 = 1;
const CNAME: u16 = 5;

/// The longest time that an answer holds: a week (RFC 8767, 4).
const TTL_S_MAX: u32 = 7 * 24 * 3600;

impl Answer {
    /// Reads the answer to the question `id`, `name`, `kind`. What does not belong to it is a fault;
    /// records of other classes and types are passed over.
    pub fn parse(bytes: &[u8], (id, name, kind): (u16, &Name, Kind)) -> Result<Self, MessageFault> {
        let mut reader = Reader { bytes, at: 0 };
        let mut head = [0u16; HEAD_SIZE / 2];
        for number in &mut head {
            *number = reader.short()?;
        }
        let [of, flags, questions, answers, ..] = head;
        if of != id || questions != 1 {
            return Err(MessageFault::OtherQuestion);
        }
        const RESPONSE: u16 = 0x8000;
        const OPCODE: u16 = 0x7800;
        if flags & RESPONSE == 0 || flags & OPCODE != 0 {
            return Err(MessageFault::NoAnswer);
        }
        let asked = (reader.name()?, reader.short()?, reader.short()?);
        if asked != (name.clone(), kind.number(), CLASS_IN) {
            return Err(MessageFault::OtherQuestion);
        }
        let is_truncated = flags & 0x0200 != 0;
        let mut answer = Self { is_truncated, code: (flags & 0xf) as u8, records: Vec::new() };
        if is_truncated {
            // What there is of it is asked for again.
            return Ok(answer);
        }
        for _ in 0..usize::from(answers).min(RECORDS_MAX) {
            answer.records.extend(reader.record(kind)?);
        }
        Ok(answer)
    }

    /// Follows the aliases of `name` to its addresses. Records of names that nobody asked about
    /// count for nothing, wherever they stand.
    pub fn follow(&self, name: &Name) -> Found {
        let mut owner = name;
        let mut ttl_s = TTL_S_MAX;
        for _ in 0..=ALIASES_MAX {
            let own = self.records.iter().filter(|record| record.owner == *owner);
            let mut addresses = Vec::new();
            let mut alias = None;
            for record in own {
                match &record.data {
                    Data::Address(address) if addresses.len() < ADDRESSES_MAX => {
                        addresses.push(*address);
                        ttl_s = ttl_s.min(record.ttl_s);
                    }
                    Data::Address(_) => {}
                    Data::Alias(target) => alias = alias.or(Some((target, record.ttl_s))),
                }
            }
            if !addresses.is_empty() {
                return Found::Addresses(addresses, ttl_s);
            }
            match alias {
                Some((target, alias_ttl_s)) => {
                    ttl_s = ttl_s.min(alias_ttl_s);
                    owner = target;
                }
                None if owner == name => return Found::Nothing,
                None => return Found::Alias(owner.clone(), ttl_s),
            }
        }
        Found::Endless
    }
}

/// Reads on through a message.
struct Reader<'m> {
    bytes: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    fn take(&mut self, count: usize) -> Result<&'m [u8], MessageFault> {
        let end = self.at.checked_add(count).ok_or(MessageFault::Short)?;
        let piece = self.bytes.get(self.at..end).ok_or(MessageFault::Short)?;
        self.at = end;
        Ok(piece)
    }

    fn short(&mut self) -> Result<u16, MessageFault> {
        let piece = self.take(2)?;
        Ok(u16::from_be_bytes([piece[0], piece[1]]))
    }

    fn long(&mut self) -> Result<u32, MessageFault> {
        let piece = self.take(4)?;
        Ok(u32::from_be_bytes([piece[0], piece[1], piece[2], piece[3]]))
    }

    /// One record; nothing when it is of no use here.
    fn record(&mut self, kind: Kind) -> Result<Option<Record>, MessageFault> {
        let owner = self.name()?;
        let (number, class) = (self.short()?, self.short()?);
        let ttl_s = ttl(self.long()?);
        let length = usize::from(self.short()?);
        let begin = self.at;
        let content = self.take(length)?;
        let data = match (number, content.len()) {
            _ if class != CLASS_IN => None,
            (CNAME, _) => {
                // The target may be packed by pointers into all of the message.
                let mut inside = Reader { bytes: self.bytes, at: begin };
                let target = inside.name()?;
                if inside.at != self.at {
                    return Err(MessageFault::BadName);
                }
                Some(Data::Alias(target))
            }
            (number, _) if number != kind.number() => None,
            _ => address(content, kind).map(Data::Address),
        };
        Ok(data.map(|data| Record { owner, ttl_s, data }))
    }

    /// A name, through its pointers (RFC 1035, 4.1.4). Each pointer must lead back, so that none
    /// leads round.
    fn name(&mut self) -> Result<Name, MessageFault> {
        let mut name = Name::begin();
        let mut at = self.at;
        let mut jumps = 0;
        loop {
            let length = *self.bytes.get(at).ok_or(MessageFault::Short)?;
            match length {
                0 => {
                    if jumps == 0 {
                        self.at = at + 1;
                    }
                    return name.end().ok_or(MessageFault::BadName);
                }
                1..=63 => {
                    let begin = at + 1;
                    let end = begin + usize::from(length);
                    let label = self.bytes.get(begin..end).ok_or(MessageFault::Short)?;
                    name.push(label).ok_or(MessageFault::BadName)?;
                    at = end;
                }
                0xc0..=0xff => {
                    let low = *self.bytes.get(at + 1).ok_or(MessageFault::Short)?;
                    let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    if target >= at || jumps == JUMPS_MAX {
                        return Err(MessageFault::BadName);
                    }
                    if jumps == 0 {
                        self.at = at + 2;
                    }
                    jumps += 1;
                    at = target;
                }
                _ => return Err(MessageFault::BadName),
            }
        }
    }
}

/// RFC 2181, 8: a time with the highest bit set is none.
fn ttl(seconds: u32) -> u32 {
    if seconds > i32::MAX as u32 { 0 } else { seconds.min(TTL_S_MAX) }
}

fn address(content: &[u8], kind: Kind) -> Option<IpAddr> {
    match kind {
        Kind::A => <[u8; 4]>::try_from(content).ok().map(IpAddr::from),
        Kind::Aaaa => <[u8; 16]>::try_from(content).ok().map(IpAddr::from),
    }
}

const _: () = assert!(WIRE_SIZE_MAX <= u8::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    /// A record with its owner written out.
    fn record(owner: &str, number: u16, ttl_s: u32, content: &[u8]) -> Vec<u8> {
        let mut out = name(owner).wire().to_vec();
        out.extend(number.to_be_bytes());
        out.extend(CLASS_IN.to_be_bytes());
        out.extend(ttl_s.to_be_bytes());
        out.extend((content.len() as u16).to_be_bytes());
        out.extend(content);
        out
    }

    fn alias(owner: &str, target: &str) -> Vec<u8> {
        record(owner, CNAME, 60, name(target).wire())
    }

    /// An answer to the question for `a.example`.
    fn answer(flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
        let mut out = query(7, &name("a.example"), Kind::A);
        out[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
        out[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        out.extend(records.concat());
        out
    }

    fn parse(bytes: &[u8]) -> Result<Answer, MessageFault> {
        Answer::parse(bytes, (7, &name("a.example"), Kind::A))
    }

    fn follow(records: &[Vec<u8>]) -> Found {
        parse(&answer(0, records)).unwrap().follow(&name("a.example"))
    }

    #[test]
    fn a_question_is_asked_as_it_should_be() {
        let wanted = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x1c\0\x01";
        assert_eq!(query(0x1234, &name("A.example"), Kind::Aaaa), wanted);
    }

    #[test]
    fn addresses_are_found_through_aliases() {
        let ip = IpAddr::from([192, 0, 2, 1]);
        let found = Found::Addresses(vec![ip], 30);
        let a = |owner| record(owner, 1, 30, &[192, 0, 2, 1]);
        assert_eq!(follow(&[a("a.example")]), found);
        assert_eq!(follow(&[alias("a.example", "B.c"), a("b.c")]), found);
        // The order of records says nothing.
        assert_eq!(follow(&[a("b.c"), alias("a.example", "b.c")]), found);
        assert_eq!(follow(&[alias("a.example", "b.c")]), Found::Alias(name("b.c"), 60));
        assert_eq!(follow(&[]), Found::Nothing);
    }

    #[test]
    fn what_was_not_asked_for_counts_for_nothing() {
        let lie = record("bank.example", 1, 30, &[192, 0, 2, 66]);
        assert_eq!(follow(&[lie]), Found::Nothing);
        let long = record("a.example", 1, 30, &[1, 2, 3, 4, 5]);
        assert_eq!(follow(&[long, record("a.example", 16, 30, b"\x03txt")]), Found::Nothing);
        let mut other_class = record("a.example", 1, 30, &[1, 2, 3, 4]);
        let at = name("a.example").wire().len() + 3;
        other_class[at] = 3;
        assert_eq!(follow(&[other_class]), Found::Nothing);
    }

    #[test]
    fn aliases_in_a_circle_end() {
        let circle = [alias("a.example", "b.c"), alias("b.c", "a.example")];
        assert_eq!(follow(&circle), Found::Endless);
        let chain: Vec<_> = (0..ALIASES_MAX)
            .map(|at| match at {
                0 => alias("a.example", "n1"),
                at => alias(&format!("n{at}"), &format!("n{}", at + 1)),
            })
            .collect();
        assert_eq!(follow(&chain), Found::Alias(name(&format!("n{ALIASES_MAX}")), 60));
        let more = [chain, vec![alias(&format!("n{ALIASES_MAX}"), "end")]].concat();
        assert_eq!(follow(&more), Found::Endless);
    }

    #[test]
    fn no_more_addresses_than_there_may_be() {
        let many: Vec<_> =
            (0..1000u32).map(|at| record("a.example", 1, 30, &at.to_be_bytes())).collect();
        let Found::Addresses(found, _) = follow(&many) else { panic!("no addresses") };
        assert_eq!(found.len(), ADDRESSES_MAX);
    }

    #[test]
    fn times_have_their_limits() {
        let held = |ttl_s| match follow(&[record("a.example", 1, ttl_s, &[1, 2, 3, 4])]) {
            Found::Addresses(_, held) => held,
            other => panic!("{other:?}"),
        };
        assert_eq!([held(0), held(5), held(u32::MAX), held(1 << 30)], [0, 5, 0, TTL_S_MAX]);
    }

    #[test]
    fn answers_to_other_questions_are_known() {
        let good = answer(0, &[]);
        assert!(parse(&good).is_ok());
        let other = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            parse(&bytes)
        };
        assert_eq!(other(1, 8), Err(MessageFault::OtherQuestion));
        assert_eq!(other(5, 0), Err(MessageFault::OtherQuestion));
        assert_eq!(other(2, 0x01), Err(MessageFault::NoAnswer));
        assert_eq!(other(13, b'b'), Err(MessageFault::OtherQuestion));
        assert_eq!(other(good.len() - 3, 28), Err(MessageFault::OtherQuestion));
        // A server may answer in its own capitals.
        assert!(other(13, b'A').is_ok());
    }

    #[test]
    fn pointers_lead_back_and_never_round() {
        let pointed = |pointer: u16| {
            let mut bytes = answer(0, &[]);
            bytes[7] = 1;
            bytes.extend(pointer.to_be_bytes());
            bytes.extend(&record("x", 1, 30, &[1, 2, 3, 4])[3..]);
            parse(&bytes).map(|answer| answer.follow(&name("a.example")))
        };
        let found = Found::Addresses(vec![IpAddr::from([1, 2, 3, 4])], 30);
        assert_eq!(pointed(0xc00c), Ok(found));
        // To itself, ahead, and to another pointer that leads ahead.
        for pointer in [0xc01b, 0xc01c, 0xffff] {
            assert_eq!(pointed(pointer), Err(MessageFault::BadName), "{pointer:x}");
        }
        // Reserved kinds of labels.
        assert_eq!(pointed(0x4141), Err(MessageFault::BadName));
    }

    #[test]
    fn every_cut_is_a_fault_and_every_byte_may_be_anything() {
        let whole = answer(0, &[alias("a.example", "b.c"), record("b.c", 1, 9, &[1, 2, 3, 4])]);
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), Err(MessageFault::Short), "cut at {end}");
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 0x3f, 0x40, 0xc0, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                if let Ok(answer) = parse(&bytes) {
                    answer.follow(&name("a.example"));
                }
            }
        }
    }

    #[test]
    fn a_cut_answer_says_so() {
        let cut = parse(&answer(0x0200, &[vec![0xff]])).unwrap();
        assert!(cut.is_truncated);
        assert_eq!(parse(&answer(3, &[])).unwrap().code, 3);
    }
}
