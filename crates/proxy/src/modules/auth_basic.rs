//! Who may ask, by name and password (RFC 7617).

use perdura_conf::{Arity, Fault, Part, Reader, Template, Value, Word, directives};
use std::path::PathBuf;

directives! {
    /// Asks for a name and a password (HTTP Basic) in this realm; `off` takes back what an outer
    /// block says. Names and passwords stand in `auth_basic_user_file`.
    auth_basic: Template = "off", in HTTP | SERVER | LOCATION | LIMIT_EXCEPT;

    /// The file of names and passwords, a line `name:password[:comment]` for each. The password is
    /// `$apr1$`, `{PLAIN}`, `{SHA}`, `{SSHA}` or anything that crypt(3) knows, such as `$6$`. The
    /// worker reads it at each request, so a change counts at once; its user must be able to.
    auth_basic_user_file: Option<UserFile> = "", in HTTP | SERVER | LOCATION | LIMIT_EXCEPT;
}

/// The path of a file of passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFile {
    pub path: Template,
    /// What a relative path is relative to.
    pub folder: PathBuf,
}

impl Value for UserFile {
    const SYNTAX: &'static str = "file";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let path = Template::compile(&args[0], reader.names)?;
        // A path that begins with a variable is taken as it comes, as in nginx.
        let folder = match path.parts().first() {
            Some(Part::Text(_)) => reader.conf_prefix.to_owned(),
            _ => reader.prefix.to_owned(),
        };
        Ok(Self { path, folder })
    }
}
