//! The client's side of HTTP/1: requests in, responses out.
//!
//! In the order in which data flows: [`serve`] reads heads and runs requests, [`body`] reads their
//! bodies, [`answer`] turns what the phases decide into a response, [`head`] and [`send`] send it.

mod accel;
mod answer;
pub mod body;
mod charset;
mod coder;
mod coding;
mod connect;
mod expiry;
mod head;
mod pace;
mod refused;
mod secure;
mod send;
pub(crate) mod serve;
mod special;
mod subrequest;
mod told;
mod trailers;

pub use accel::Kept;
pub use coder::{CodingFault, Taken};
pub use coding::{Prospect, accepts as accepts_gzip, foresee};
pub use head::write as write_head;
pub use pace::rate;
pub use pace::{Pace, size};
pub use send::{Finish, Sending, outcome};
pub use serve::{Client, serve};
pub use subrequest::Answered;
