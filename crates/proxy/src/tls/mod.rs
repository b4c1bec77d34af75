//! TLS of both sides, over rustls.
//!
//! In reading order: [`pem`] and [`der`] read files, [`private_key`] and [`credential`] make
//! certificates with keys of them, [`ciphers`] and [`curves`] evaluate OpenSSL's lists,
//! [`signature`] checks what a peer has signed, [`chain`] judges certificates with [`walk`],
//! [`client_policy`] those of clients, [`resumption`] keeps sessions. [`accept`] and [`connect`]
//! shake hands, [`session`] carries bytes, [`secrets`] lets a tunnel leave.
//!
//! Files are read elsewhere, and no directive is known here.

mod accept;
mod certificate;
mod chain;
mod ciphers;
mod client_policy;
mod connect;
mod credential;
mod curves;
mod der;
mod facts;
mod loading;
mod name;
mod pem;
mod private_key;
mod resumption;
mod secrets;
mod server_config;
mod session;
mod signature;
mod variables;
mod walk;

pub use accept::{Accepted, Choice, Chosen, Fault as AcceptFault, accept};
pub use chain::{Trust, TrustFault};
pub use ciphers::{Evaluated as Ciphers, evaluate as evaluate_ciphers};
pub use client_policy::{ClientPolicy, Demand, Refused, Shown};
pub use connect::{ClientTerms, Dialling, Unsecured};
pub use credential::{Credential, CredentialFault};
pub use curves::evaluate as evaluate_curves;
pub use facts::{Facts, Offered};
pub use loading::{Files, LoadFault, bio_reason, certificate_reason};
pub use resumption::{Cache, Resumption, Tickets};
pub use server_config::{Acceptance, Computed, Greeting, ServerTerms};
pub use session::{Ahead, Session, Wire};
pub use variables::{VALUES, Value, client_verify};
