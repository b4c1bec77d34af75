//! The version of HTTP/1 that a head names.

/// Major and minor number; ordered as versions are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 0 in HTTP/0.9 (a request line without version), otherwise 1.
    pub major: u16,
    /// Up to three digits, as nginx.
    pub minor: u16,
}

impl Version {
    /// A request line without a version; it has no fields and its answer no head.
    pub const HTTP_09: Version = Version { major: 0, minor: 9 };
    /// HTTP/1.0.
    pub const HTTP_10: Version = Version { major: 1, minor: 0 };
    /// HTTP/1.1.
    pub const HTTP_11: Version = Version { major: 1, minor: 1 };
}
