//! A tunnel's name in 64 bits: record, generation and a side, as epoll data, owner note and public
//! id.
//!
//! It proves nothing: whoever unpacks one checks it against the record.

use crate::Side;

/// Names one tunnel for as long as the table lives; a record that is used again has another
/// generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl TunnelId {
    /// The number that logs and the operator see.
    pub const fn number(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The id with this number; whether it names a tunnel is seen when it is used.
    pub const fn from_number(number: u64) -> TunnelId {
        TunnelId { index: number as u32, generation: (number >> 32) as u32 }
    }
}

/// A tunnel and one of its sides in one word. 0 names none: generations begin at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) id: TunnelId,
    pub(crate) side: Side,
}

impl Token {
    pub(crate) const fn pack(self) -> u64 {
        let side = match self.side {
            Side::Client => 0,
            Side::Upstream => SIDE_BIT,
        };
        self.id.number() | side
    }

    pub(crate) const fn unpack(word: u64) -> Option<Token> {
        let side = if word & SIDE_BIT == 0 { Side::Client } else { Side::Upstream };
        let id = TunnelId::from_number(word & !SIDE_BIT);
        if id.generation == 0 { None } else { Some(Token { id, side }) }
    }
}

/// Above every record's number (`RECORDS_MAX`).
const SIDE_BIT: u64 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_travel_both_ways() {
        for side in Side::BOTH {
            let token = Token { id: TunnelId { index: 77, generation: u32::MAX }, side };
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
        assert_eq!(Token::unpack(5), None);
    }
}
