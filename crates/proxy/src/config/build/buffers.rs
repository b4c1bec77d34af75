//! Whether the buffers for an upstream's answer fit each other: nginx checks it for every location.

use super::Builder;
use crate::modules::proxy::Settings;
use perdura_conf::{Fault, Place, Size};

impl Builder<'_> {
    /// Checks what holds in the block at `place`. nginx names the last line of `http` instead, and
    /// stops at the first; here each complaint is made once, for the first block that it concerns.
    pub(super) fn check_buffers(&mut self, settings: &Settings, place: Place) {
        let Some(message) = complaint(settings) else {
            return;
        };
        let known = self.faults.iter().any(|fault| fault.message == message);
        if !known {
            let Size(head) = settings.proxy_buffer_size;
            let (count, size) = (settings.proxy_buffers.count, settings.proxy_buffers.size);
            self.faults.push(Fault::new(place, message).hint(format!(
                "here hold proxy_buffer_size {head}, proxy_buffers {count} {size} and \
                 proxy_busy_buffers_size {}",
                busy(settings)
            )));
        }
    }
}

/// nginx's first complaint, in the order of `ngx_http_proxy_merge_loc_conf`.
fn complaint(settings: &Settings) -> Option<&'static str> {
    let (count, size) = (settings.proxy_buffers.count as u64, settings.proxy_buffers.size as u64);
    let largest = largest(settings);
    if count < 2 {
        return Some("there must be at least 2 \"proxy_buffers\"");
    }
    if busy(settings) < largest {
        return Some(
            "\"proxy_busy_buffers_size\" must be equal to or greater than the maximum of the value \
             of \"proxy_buffer_size\" and one of the \"proxy_buffers\"",
        );
    }
    if busy(settings) > (count - 1).saturating_mul(size) {
        return Some(
            "\"proxy_busy_buffers_size\" must be less than the size of all \"proxy_buffers\" minus \
             one buffer",
        );
    }
    let Size(file) = settings.proxy_max_temp_file_size;
    if file != 0 && file < largest {
        return Some(
            "\"proxy_max_temp_file_size\" must be equal to zero to disable temporary files usage \
             or must be equal to or greater than the maximum of the value of \
             \"proxy_buffer_size\" and one of the \"proxy_buffers\"",
        );
    }
    None
}

fn largest(settings: &Settings) -> u64 {
    let Size(head) = settings.proxy_buffer_size;
    head.max(settings.proxy_buffers.size as u64)
}

/// The size that is given, or nginx's: twice the largest buffer.
fn busy(settings: &Settings) -> u64 {
    match settings.proxy_busy_buffers_size {
        Some(Size(size)) => size,
        None => largest(settings).saturating_mul(2),
    }
}
