//! Links that cannot be guessed, and that end.

use perdura_conf::{Fault, Statement, Template, Text, directives};

directives! {
    /// The checksum of a link, in base64url, and behind a comma the second since 1970 at which it
    /// ends: usually `$arg_md5,$arg_expires`. `$secure_link` is `1` when the checksum is that of
    /// `secure_link_md5`, `0` when it is and the link has ended, and has no value otherwise.
    secure_link: Option<Template> = "", in HTTP | SERVER | LOCATION;

    /// The text whose MD5 a link must have: a secret, and what of the request it holds for.
    secure_link_md5: Option<Template> = "", in HTTP | SERVER | LOCATION;

    /// A secret for links like `/prefix/MD5/rest`, whose MD5 is that of `rest` and the secret behind
    /// it; `$secure_link` is `rest` when it is right. It cannot stand beside the other two.
    secure_link_secret: Option<Text> = "", in HTTP | SERVER | LOCATION;
}

/// What can only be said of a whole statement: the two forms in one block.
pub fn check(statement: &Statement, before: &Written) -> Option<Fault> {
    let is_computed = before.secure_link.is_some() || before.secure_link_md5.is_some();
    let mixes = match &statement.name.bytes[..] {
        b"secure_link" | b"secure_link_md5" => before.secure_link_secret.is_some(),
        b"secure_link_secret" => is_computed,
        _ => false,
    };
    let message =
        "\"secure_link_secret\" cannot be mixed with \"secure_link\" and \"secure_link_md5\"";
    mixes.then(|| Fault::new(statement.name.place, message))
}

/// Which form a block has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    Neither,
    Secret,
    Computed,
}

impl Written {
    /// The form that a block has of its own, before it inherits.
    pub fn own(&self) -> Own {
        match (&self.secure_link_secret, &self.secure_link, &self.secure_link_md5) {
            (Some(_), _, _) => Own::Secret,
            (None, None, None) => Own::Neither,
            _ => Own::Computed,
        }
    }

    /// A block's own form replaces the outer block's.
    pub fn separate(&mut self, own: Own) {
        match own {
            Own::Secret => (self.secure_link, self.secure_link_md5) = (None, None),
            Own::Computed => self.secure_link_secret = None,
            Own::Neither => {}
        }
    }
}
