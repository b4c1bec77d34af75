//! The one configuration that every proxy gets; only ports and paths differ, and Perdura's has a
//! `tunnel_pass` that nginx of this version does not know.
//!
//! It is the map variant of nginx's page on WebSocket proxying, plus a kept upstream for plain
//! pages and room for as many tunnels as the descriptors allow. Called by `peer`.

use std::net::SocketAddr;
use std::path::Path;

/// The descriptors that a process may have at most.
pub const DESCRIPTORS_MAX: u32 = 20_000;

/// Whether a proxy has tunnels by CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connect {
    Known,
    Unknown,
}

/// The text of the configuration of a proxy whose files are under `folder`.
pub fn text(folder: &Path, listen: SocketAddr, upstream: SocketAddr, connect: Connect) -> String {
    let connect = match connect {
        Connect::Unknown => String::new(),
        Connect::Known => format!("tunnel_pass {upstream};"),
    };
    let folder = folder.display();
    format!(
        "\
daemon off;
worker_processes 1;
worker_rlimit_nofile {DESCRIPTORS_MAX};
pid {folder}/pid;
error_log {folder}/error.log warn;

events {{
    worker_connections {DESCRIPTORS_MAX};
}}

http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;

    map $http_upgrade $connection_upgrade {{
        default upgrade;
        ''      close;
    }}

    upstream tunnels {{
        server {upstream};
    }}

    upstream pages {{
        server {upstream};
        keepalive 32;
    }}

    server {{
        listen {listen};
        {connect}

        location /ws/ {{
            proxy_pass http://tunnels;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}

        location /plain/ {{
            proxy_pass http://pages;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
        }}
    }}
}}
"
    )
}
