//! The two sides of a tunnel, as a type that indexes arrays of two.
//!
//! It is not a direction: a direction is named after the side that it reads from. Used by
//! everything here.

use std::ops::{Index, IndexMut};

/// One of the two peers of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Who connected to us.
    Client,
    /// Who we connected to.
    Upstream,
}

impl Side {
    /// Both sides, the client first.
    pub const BOTH: [Side; 2] = [Side::Client, Side::Upstream];

    /// The opposite side.
    pub const fn other(self) -> Side {
        match self {
            Side::Client => Side::Upstream,
            Side::Upstream => Side::Client,
        }
    }

    /// The word for logs.
    pub const fn word(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Upstream => "upstream",
        }
    }

    /// The place in arrays of two: 0 for the client, 1 for the upstream.
    pub const fn index(self) -> usize {
        match self {
            Side::Client => 0,
            Side::Upstream => 1,
        }
    }
}

impl<T> Index<Side> for [T; 2] {
    type Output = T;

    fn index(&self, side: Side) -> &T {
        &self[Side::index(side)]
    }
}

impl<T> IndexMut<Side> for [T; 2] {
    fn index_mut(&mut self, side: Side) -> &mut T {
        &mut self[Side::index(side)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_has_its_own_place() {
        let mut pair = [1, 2];
        pair[Side::Upstream] = 3;
        assert_eq!((pair[Side::Client], pair[Side::Upstream]), (1, 3));
        assert_eq!(Side::Client.other().other(), Side::Client);
    }
}
