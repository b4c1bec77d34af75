//! Listings of folders that have no index file.

use perdura_conf::{Flag, directives};

directives! {
    /// Lists what is in a folder when a path ends in a slash and no `index` file is there.
    autoindex: Flag = "off", in HTTP | SERVER | LOCATION;

    /// Shows sizes in bytes; off rounds them to kilobytes, megabytes and gigabytes. For `html`
    /// only.
    autoindex_exact_size: Flag = "on", in HTTP | SERVER | LOCATION;

    /// The form of a listing. `jsonp` calls the function that the `callback` argument names.
    autoindex_format: Format = "html", in HTTP | SERVER | LOCATION;

    /// Shows times in the local time zone instead of UTC. For `html` only.
    autoindex_localtime: Flag = "off", in HTTP | SERVER | LOCATION;
}

perdura_conf::choice! {
    /// The form of a listing.
    pub enum Format { Html = "html", Xml = "xml", Json = "json", Jsonp = "jsonp" }
}
