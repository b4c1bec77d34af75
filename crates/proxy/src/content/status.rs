//! The page of `stub_status`.

use crate::counters::{self, Counters};
use crate::phase::Step;
use crate::request::Request;
use crate::response::Response;

/// Answers with the counters, in nginx's form, which monitors read.
pub fn status_page(request: &Request) -> Step {
    if !matches!(&request.method[..], b"GET" | b"HEAD") {
        return Step::Refuse(405);
    }
    Step::Respond(Response::text(200, b"text/plain", page(counters::look())))
}

fn page(counters: Counters) -> String {
    let Counters { active, accepted, handled, requests, reading, writing, waiting } = counters;
    format!(
        "Active connections: {active} \nserver accepts handled requests\n \
         {accepted} {handled} {requests} \nReading: {reading} Writing: {writing} Waiting: {waiting} \n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_that_of_nginx() {
        let counters = Counters {
            active: 291,
            accepted: 16_630_948,
            handled: 16_630_947,
            requests: 31_070_465,
            reading: 6,
            writing: 179,
            waiting: 106,
        };
        let expected = "Active connections: 291 \nserver accepts handled requests\n \
                        16630948 16630947 31070465 \nReading: 6 Writing: 179 Waiting: 106 \n";
        assert_eq!(page(counters), expected);
    }
}
