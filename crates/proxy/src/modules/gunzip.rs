//! Decompression for clients that do not take what is compressed already.

use crate::grammar::Buffers;
use perdura_conf::{Flag, directives};

directives! {
    /// Unpacks responses with `Content-Encoding: gzip` for clients that do not accept it.
    gunzip: Flag = "off", in HTTP | SERVER | LOCATION;

    /// Buffers for unpacked bytes. They are checked; as many bytes are made as the client takes.
    gunzip_buffers: Buffers = "32 4k", in HTTP | SERVER | LOCATION;
}
