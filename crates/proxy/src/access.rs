//! The access phase: guards that let a request in, refuse it, or have no opinion, and `satisfy`,
//! which says how many must let it in.
//!
//! The phases call the guards in order and [`conclude`] behind them. Not here: passwords themselves
//! (`password`), and waiting (`front`).

use crate::error_log;
use crate::modules::access::Verdict as Rule;
use crate::modules::auth_request::Asked;
use crate::modules::core::Satisfy;
use crate::modules::error_log::Severity;
use crate::password::{Credentials, Judgement};
use crate::phase::{Behind, Pause, Step};
use crate::request::Request;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where a request stands between the guards of `satisfy any`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Standing {
    #[default]
    Open,
    Denied(u16),
    Granted,
}

/// What one guard says.
enum Verdict {
    NoOpinion,
    Granted,
    Refused(u16),
    /// The guard must wait for something, and is asked again then.
    Wait(Pause),
}

/// `allow` and `deny`. The first guard, so everything is open before it.
pub fn by_address(request: &mut Request) -> Step {
    request.standing = Standing::Open;
    checked(request, address)
}

/// `auth_basic`.
pub fn by_password(request: &mut Request) -> Step {
    checked(request, password)
}

/// `auth_request`.
pub fn by_request(request: &mut Request) -> Step {
    checked(request, answer)
}

/// Behind all guards: with `satisfy any`, what was denied and never granted.
pub fn conclude(request: &mut Request) -> Step {
    match std::mem::take(&mut request.standing) {
        Standing::Open | Standing::Granted => Step::Next,
        Standing::Denied(status) => {
            if status == FORBIDDEN {
                error_log::request(request, Severity::Error, "access forbidden by rule");
            }
            refuse(request, status)
        }
    }
}

/// Asks a guard and applies `satisfy`, as `ngx_http_core_access_phase` does.
fn checked(request: &mut Request, guard: fn(&mut Request) -> Verdict) -> Step {
    // A subrequest asks for nothing that its request may not have.
    if request.standing == Standing::Granted || request.main_method.is_some() {
        return Step::Next;
    }
    let verdict = guard(request);
    match (verdict, request.location.core.satisfy) {
        (Verdict::NoOpinion, _) | (Verdict::Granted, Satisfy::All) => Step::Next,
        (Verdict::Granted, Satisfy::Any) => {
            request.standing = Standing::Granted;
            request.challenge = None;
            Step::Next
        }
        (Verdict::Refused(status), Satisfy::Any) if status == FORBIDDEN || is_unknown(status) => {
            // Who may still name himself is told so rather than that he is forbidden.
            if !matches!(request.standing, Standing::Denied(before) if is_unknown(before)) {
                request.standing = Standing::Denied(status);
            }
            Step::Next
        }
        (Verdict::Refused(status), _) => refuse(request, status),
        (Verdict::Wait(pause), _) => Step::Wait(Box::new(pause)),
    }
}

const FORBIDDEN: u16 = 403;
const UNAUTHORIZED: u16 = 401;
const PROXY_UNAUTHORIZED: u16 = 407;

fn is_unknown(status: u16) -> bool {
    matches!(status, UNAUTHORIZED | PROXY_UNAUTHORIZED)
}

/// Refuses, after `auth_delay` when it is for want of a password.
fn refuse(request: &Request, status: u16) -> Step {
    let delay = Duration::from_millis(request.location.core.auth_delay.0);
    if !is_unknown(status) || delay.is_zero() {
        return Step::Refuse(status);
    }
    error_log::request(request, Severity::Info, "delaying unauthorized request");
    Step::Wait(Box::new(Pause::Delay { time: delay, behind: Behind::Refuse(status) }))
}

fn address(request: &mut Request) -> Verdict {
    let location = Arc::clone(&request.location);
    match location.access.verdict(request.peer()) {
        None => Verdict::NoOpinion,
        Some(Rule::Allow) => Verdict::Granted,
        Some(Rule::Deny) => {
            if location.core.satisfy == Satisfy::All {
                error_log::request(request, Severity::Error, "access forbidden by rule");
            }
            Verdict::Refused(FORBIDDEN)
        }
    }
}

fn password(request: &mut Request) -> Verdict {
    let location = Arc::clone(&request.location);
    let settings = &location.auth_basic;
    let Some(file) = &settings.auth_basic_user_file else {
        return Verdict::NoOpinion;
    };
    let realm = request.value(&settings.auth_basic);
    if realm == b"off" {
        return Verdict::NoOpinion;
    }
    let path = file.folder.join(path_of(request.value(&file.path)));
    let Some(credentials) = request.credentials() else {
        let message = "no user/password was provided for basic authentication";
        error_log::request(request, Severity::Info, message);
        return challenge(request, &realm);
    };
    match request.judgement.take() {
        None => Verdict::Wait(Pause::Password { file: path, credentials }),
        Some(judgement) => judged(request, &judgement, &credentials, &path, &realm),
    }
}

fn answer(request: &mut Request) -> Verdict {
    let Asked::Path(path) = &request.location.auth_request.auth_request else {
        return Verdict::NoOpinion;
    };
    let Some(answered) = request.answered.take() else {
        return Verdict::Wait(Pause::Subrequest { path: path.clone() });
    };
    match answered.status {
        200..300 => Verdict::Granted,
        FORBIDDEN => Verdict::Refused(FORBIDDEN),
        UNAUTHORIZED => {
            if let Some(value) = answered.challenge {
                request.challenge = Some(("WWW-Authenticate", value));
            }
            Verdict::Refused(UNAUTHORIZED)
        }
        status => {
            let message = format!("auth request unexpected status: {status}");
            error_log::request(request, Severity::Error, &message);
            Verdict::Refused(500)
        }
    }
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(bytes).into()
}

fn judged(
    request: &mut Request,
    judgement: &Judgement,
    credentials: &Credentials,
    file: &std::path::Path,
    realm: &[u8],
) -> Verdict {
    let (user, file) = (String::from_utf8_lossy(&credentials.user), file.display());
    match judgement {
        Judgement::Right => Verdict::Granted,
        Judgement::Wrong => {
            let message = format!("user \"{user}\": password mismatch");
            error_log::request(request, Severity::Error, &message);
            challenge(request, realm)
        }
        Judgement::Unknown => {
            let message = format!("user \"{user}\" was not found in \"{file}\"");
            error_log::request(request, Severity::Error, &message);
            challenge(request, realm)
        }
        Judgement::NoFile(error) => {
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            let (severity, status) =
                if missing { (Severity::Error, FORBIDDEN) } else { (Severity::Crit, 500) };
            let message = format!("open() \"{file}\" failed ({})", crate::errno_text(error));
            error_log::request(request, severity, &message);
            Verdict::Refused(status)
        }
        Judgement::NoText(error) => {
            let message = format!("pread() \"{file}\" failed ({})", crate::errno_text(error));
            error_log::request(request, Severity::Crit, &message);
            Verdict::Refused(500)
        }
        Judgement::NoHash(error) => {
            let message = format!("crypt_r() failed ({})", crate::errno_text(error));
            error_log::request(request, Severity::Crit, &message);
            Verdict::Refused(500)
        }
    }
}

/// Asks for a name and a password; for a tunnel to elsewhere as a proxy asks (RFC 9110, 11.7).
fn challenge(request: &mut Request, realm: &[u8]) -> Verdict {
    let (field, status) = match request.is_connect() {
        true => ("Proxy-Authenticate", PROXY_UNAUTHORIZED),
        false => ("WWW-Authenticate", UNAUTHORIZED),
    };
    request.challenge = Some((field, [b"Basic realm=\"", realm, b"\""].concat()));
    Verdict::Refused(status)
}
