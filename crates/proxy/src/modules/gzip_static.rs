//! Files that lie beside others in compressed form.

use perdura_conf::directives;

directives! {
    /// Sends `file.gz` in the place of `file` to clients that accept it; `always` asks nobody.
    gzip_static: Beside = "off", in HTTP | SERVER | LOCATION;
}

perdura_conf::choice! {
    /// When the compressed file is looked for.
    pub enum Beside { Off = "off", On = "on", Always = "always" }
}
