//! A peer by chance, weights obeyed; or the less busy one of two.

use super::{Field, TRIES_MAX};
use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

pub fn one(field: &mut Field<'_>, tries: &mut u32) -> Option<usize> {
    let total = field.total_weight();
    while *tries <= TRIES_MAX {
        let index = field.at_weight(chance(total))?;
        if field.may(index) {
            field.check(index);
            return Some(index);
        }
        *tries += 1;
    }
    None
}

pub fn two(field: &mut Field<'_>, tries: &mut u32) -> Option<usize> {
    let total = field.total_weight();
    let mut first: Option<usize> = None;
    while *tries <= TRIES_MAX {
        let index = field.at_weight(chance(total))?;
        if first == Some(index) || !field.may(index) {
            *tries += 1;
            continue;
        }
        let Some(before) = first else {
            first = Some(index);
            continue;
        };
        let load = |one: usize, other: usize| {
            u64::from(field.connections(one)) * u64::from(field.peers[other].weight)
        };
        let chosen = if load(index, before) > load(before, index) { before } else { index };
        field.check(chosen);
        return Some(chosen);
    }
    None
}

thread_local! {
    static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0) | 1);
}

/// A number below `bound`, by chance (xorshift64*).
fn chance(bound: u64) -> u64 {
    STATE.with(|state| {
        let mut word = state.get();
        word ^= word >> 12;
        word ^= word << 25;
        word ^= word >> 27;
        state.set(word);
        (word.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % bound.max(1)
    })
}
