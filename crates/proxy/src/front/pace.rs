//! `limit_rate`: how much of a response a client gets in a second.
//!
//! The arithmetic is that of nginx's `ngx_http_write_filter`: whole seconds since the request began
//! give a budget, and what goes beyond it waits. `send` asks it before each write.

use crate::error_log;
use crate::grammar::ComputedSize;
use crate::modules::error_log::Severity;
use crate::request::Request;
use perdura_conf::Size;
use std::time::{Duration, Instant};

/// The pace of one response.
pub struct Pace {
    /// Bytes in a second.
    rate: u64,
    /// Bytes that go at full speed.
    after: u64,
    began: Instant,
    /// No byte goes before.
    pub held_until: Option<Instant>,
    /// What had been sent when the last allowance was given.
    allowed_at: u64,
}

impl Pace {
    /// The pace that holds for a request, if there is one.
    pub fn of(request: &Request) -> Option<Self> {
        let core = &request.location.core;
        let rate = rate(request);
        (rate > 0).then(|| Self {
            rate,
            after: size(request, &core.limit_rate_after),
            began: request.started,
            held_until: None,
            allowed_at: 0,
        })
    }

    /// A pace of so many bytes in a second from now on; `None` for no limit.
    pub fn at(rate: u64) -> Option<Self> {
        (rate > 0).then(|| Self {
            rate,
            after: 0,
            began: Instant::now(),
            held_until: None,
            allowed_at: 0,
        })
    }

    /// How much may go when so much has been sent; `None` when nothing may yet.
    pub fn allowance(&mut self, sent: u64) -> Option<usize> {
        let now = Instant::now();
        if self.held_until.is_some_and(|until| now < until) {
            return None;
        }
        // What went with the last allowance has its price in time.
        let counted = |sent: u64| sent.saturating_sub(self.after);
        let price = (counted(sent) - counted(self.allowed_at)).saturating_mul(1000) / self.rate;
        self.allowed_at = sent;
        if self.held_until.take().is_none() && price > 0 {
            self.held_until = Some(now + Duration::from_millis(price));
            return None;
        }
        let seconds = now.duration_since(self.began).as_secs() + 1;
        let budget = self.rate.saturating_mul(seconds).saturating_add(self.after);
        match budget.checked_sub(sent).filter(|&left| left > 0) {
            Some(left) => Some(usize::try_from(left).unwrap_or(usize::MAX)),
            None => {
                let over = sent - budget;
                let wait = over.saturating_mul(1000) / self.rate + 1;
                self.held_until = Some(now + Duration::from_millis(wait));
                None
            }
        }
    }
}

/// Bytes in a second that a client may get of the response; 0 is no limit.
pub fn rate(request: &Request) -> u64 {
    request.limit_rate.unwrap_or_else(|| size(request, &request.location.core.limit_rate))
}

/// The value of a size that may hold variables; one that is none is 0, as in nginx.
pub fn size(request: &Request, size: &ComputedSize) -> u64 {
    let template = match size {
        ComputedSize::Fixed(bytes) => return *bytes,
        ComputedSize::Computed(template) => template,
    };
    let text = request.value(template);
    Size::parse(&text).unwrap_or_else(|| {
        let message =
            format!("invalid size \"{}\" while sending to client", String::from_utf8_lossy(&text));
        error_log::request(request, Severity::Error, &message);
        0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: u64, after: u64, seconds: u64) -> Pace {
        let began = Instant::now() - Duration::from_millis(seconds * 1000 + 10);
        Pace { rate, after, began, held_until: None, allowed_at: 0 }
    }

    #[test]
    fn the_budget_grows_with_whole_seconds() {
        assert_eq!(pace(1000, 0, 0).allowance(0), Some(1000));
        assert_eq!(pace(1000, 500, 0).allowance(0), Some(1500));
        assert_eq!(pace(1000, 0, 3).allowance(0), Some(4000));
    }

    #[test]
    fn what_went_has_its_price_in_time() {
        let mut pace = pace(1000, 0, 0);
        assert_eq!(pace.allowance(0), Some(1000));
        assert_eq!(pace.allowance(1000), None);
        let left = pace.held_until.unwrap() - Instant::now();
        assert!(left > Duration::from_millis(900) && left <= Duration::from_secs(1), "{left:?}");
    }

    #[test]
    fn the_first_bytes_are_free() {
        let mut pace = pace(1000, 500, 0);
        assert_eq!(pace.allowance(0), Some(1500));
        assert_eq!(pace.allowance(500), Some(1000));
        assert_eq!(pace.allowance(600), None);
    }
}
