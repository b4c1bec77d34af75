//! Passwords: the look-up of a user in a file, and the comparison with what stands there.
//!
//! It takes milliseconds by design, so `front` calls it on a thread of its own. The formats are
//! nginx's: four of its own, and for everything else the crypt(3) of the system.

mod apache;
mod libcrypt;

use crate::digest::{base64, from_base64, sha1};
use std::io::{self, Read};
use std::path::Path;

/// A name and a password as a client sent them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub user: Vec<u8>,
    pub password: Vec<u8>,
}

impl Credentials {
    /// Reads the value of an `Authorization` field; `None` when it is not Basic, or has no name.
    pub fn read(field: &[u8]) -> Option<Self> {
        let (scheme, rest) = field.split_at_checked("Basic ".len())?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let blanks = rest.iter().take_while(|&&byte| byte == b' ').count();
        let decoded = from_base64(&rest[blanks..])?;
        let colon = decoded.iter().position(|&byte| byte == b':').filter(|at| *at > 0)?;
        let (user, password) = (decoded[..colon].to_vec(), decoded[colon + 1..].to_vec());
        Some(Self { user, password })
    }
}

/// What a file says of credentials.
#[derive(Debug)]
pub enum Judgement {
    Right,
    Wrong,
    /// The file does not name the user.
    Unknown,
    /// The file cannot be opened, or not be read.
    NoFile(io::Error),
    NoText(io::Error),
    /// The hash cannot be computed.
    NoHash(io::Error),
}

/// The longest file of passwords that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Looks the user up in the file and compares the password.
pub fn judge(file: &Path, credentials: &Credentials) -> Judgement {
    let file = match std::fs::File::open(file) {
        Ok(file) => file,
        Err(error) => return Judgement::NoFile(error),
    };
    let mut text = Vec::new();
    if let Err(error) = file.take(FILE_BYTES_MAX).read_to_end(&mut text) {
        return Judgement::NoText(error);
    }
    let Some(stored) = find(&text, &credentials.user) else {
        return Judgement::Unknown;
    };
    match fits(&credentials.password, stored) {
        Ok(true) => Judgement::Right,
        Ok(false) => Judgement::Wrong,
        Err(error) => Judgement::NoHash(error),
    }
}

/// The password of the first line that names the user: it ends at a colon or at the line's end.
fn find<'t>(text: &'t [u8], user: &[u8]) -> Option<&'t [u8]> {
    text.split(|&byte| byte == b'\n').find_map(|line| {
        let rest = line.strip_prefix(user)?.strip_prefix(b":")?;
        if matches!(line.first(), Some(b'#' | b'\r')) {
            return None;
        }
        let end = rest.iter().position(|byte| matches!(byte, b':' | b'\r'));
        Some(&rest[..end.unwrap_or(rest.len())])
    })
}

/// Whether the password is the one that is stored.
fn fits(password: &[u8], stored: &[u8]) -> io::Result<bool> {
    // A C string ends at its first NUL, and nginx's are C strings.
    let password = password.split(|&byte| byte == 0).next().unwrap_or_default();
    let text = if stored.starts_with(b"$apr1$") {
        apache::hash(password, stored)
    } else if stored.starts_with(b"{PLAIN}") {
        [b"{PLAIN}", password].concat()
    } else if let Some(salted) = stored.strip_prefix(b"{SSHA}") {
        // What follows the digest is the salt.
        let decoded = from_base64(salted).unwrap_or_default();
        let salt = decoded.get(SHA1_BYTES..).unwrap_or_default();
        let digest = sha1(&[password, salt].concat());
        [b"{SSHA}", base64(&[&digest[..], salt].concat()).as_bytes()].concat()
    } else if stored.starts_with(b"{SHA}") {
        [b"{SHA}", base64(&sha1(password)).as_bytes()].concat()
    } else {
        libcrypt::hash(password, stored)?
    };
    Ok(same(&text, stored))
}

const SHA1_BYTES: usize = 20;

/// Compares in a time that does not tell where the first difference is.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0, |bits, (a, b)| bits | (a ^ b));
    one.len() == other.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_knows_its_password() {
        let stored = [
            "$1$saltsalt$9xy1btjgzLYfb7hivXtC//",
            "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA",
            concat!(
                "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDe",
                "hy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1",
            ),
            "$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0",
            "{PLAIN}secret",
            "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0",
            "abNANd1rDfiNc",
        ];
        for text in stored {
            assert!(fits(b"secret", text.as_bytes()).unwrap(), "{text}");
            assert!(!fits(b"Secret", text.as_bytes()).unwrap(), "{text}");
            assert!(!fits(b"", text.as_bytes()).unwrap(), "{text}");
        }
        assert!(!fits(b"secret", b"").unwrap_or(false));
    }

    #[test]
    fn lines_are_cut_up_as_nginx_does() {
        let text = b"#a:1\nab:2\na:3:comment\r\na:4\nb:5\r\nlast:6";
        assert_eq!(find(text, b"a"), Some(&b"3"[..]));
        assert_eq!(find(text, b"b"), Some(&b"5"[..]));
        assert_eq!(find(text, b"last"), Some(&b"6"[..]));
        assert_eq!(find(text, b"#a"), None);
        assert_eq!(find(text, b"las"), None);
    }

    #[test]
    fn credentials_are_read_or_are_none() {
        let read = |text: &str| Credentials::read(text.as_bytes());
        let user = |text: &str| read(text).map(|one| String::from_utf8(one.user).unwrap());
        assert_eq!(user("Basic dTpw").as_deref(), Some("u"));
        assert_eq!(user("bAsIc    dTpw").as_deref(), Some("u"));
        assert_eq!(read("Basic dTpwOnE=").unwrap().password, b"p:q");
        for bad in ["", "Basic", "Basic ", "Basicx dTpw", "Basic dQ==", "Basic OnA=", "Basic !"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_so() {
        let nobody = Credentials { user: b"u".to_vec(), password: b"p".to_vec() };
        let judged = judge(Path::new("/nonexistent/passwords"), &nobody);
        assert!(matches!(judged, Judgement::NoFile(_)), "{judged:?}");
    }
}
