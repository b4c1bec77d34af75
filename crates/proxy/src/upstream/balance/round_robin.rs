//! Smooth weighted round robin; backups serve when no primary may.

use super::Field;

pub fn pick(field: &mut Field<'_>) -> Option<usize> {
    if field.peers.len() == 1 {
        // A lone server is asked whatever it did before.
        let may = !field.peers[0].down && !field.tried[0] && field.has_room(0);
        return may.then_some(0);
    }
    [false, true].into_iter().find_map(|backup| {
        let candidates: Vec<usize> = field.all(backup).filter(|&one| field.may(one)).collect();
        field.smooth(&candidates)
    })
}
