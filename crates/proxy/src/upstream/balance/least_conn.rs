//! The peer with the fewest connections for its weight, tunnels included; of several that are equal,
//! whose turn it is.

use super::{Field, round_robin};

pub fn pick(field: &mut Field<'_>) -> Option<usize> {
    if field.peers.len() == 1 {
        return round_robin::pick(field);
    }
    [false, true].into_iter().find_map(|backup| {
        let candidates: Vec<usize> = field.all(backup).filter(|&one| field.may(one)).collect();
        least(field, &candidates)
    })
}

fn least(field: &mut Field<'_>, candidates: &[usize]) -> Option<usize> {
    // Compared by products, as fractions are.
    let load = |one: usize, other: usize| {
        u64::from(field.connections(one)) * u64::from(field.peers[other].weight)
    };
    let best = candidates
        .iter()
        .copied()
        .reduce(|best, one| if load(one, best) < load(best, one) { one } else { best })?;
    let equal: Vec<usize> = candidates
        .iter()
        .copied()
        .filter(|&one| one >= best && load(one, best) == load(best, one))
        .collect();
    if equal.len() > 1 {
        return field.smooth(&equal);
    }
    field.check(best);
    Some(best)
}
