//! The modules: each file holds its directives, their grammars and defaults, and names no other.
//!
//! The order of the lists below is the order of the chapters of the manual.

pub mod access;
pub mod auth_basic;
pub mod auth_request;
pub mod autoindex;
pub mod charset;
pub mod core;
pub mod error_log;
pub mod error_page;
pub mod events;
pub mod expires;
pub mod gunzip;
pub mod gzip;
pub mod gzip_static;
pub mod headers;
pub mod index;
pub mod limit_conn;
pub mod limit_except;
pub mod limit_req;
pub mod log;
pub mod process;
pub mod proxy;
pub mod proxy_cookie;
pub mod proxy_ssl;
pub mod realip;
pub mod referer;
pub mod resolver;
pub mod return_status;
pub mod rewrite;
pub mod secure_link;
pub mod server;
pub mod ssl;
pub mod stub_status;
pub mod try_files;
pub mod tunnel;
pub mod upgrade;
pub mod upstream;

/// What may stand outside of all blocks.
pub mod main_block {
    perdura_conf::modules! { process, error_log }
}

/// What may stand in `events`.
pub mod events_block {
    perdura_conf::modules! { events }
}

/// What may stand in `http`, `server` and `location`, and is inherited inwards.
pub mod scope {
    perdura_conf::modules! {
        core,
        ssl,
        realip,
        rewrite,
        resolver,
        index,
        autoindex,
        try_files,
        limit_conn,
        limit_req,
        access,
        auth_basic,
        auth_request,
        referer,
        secure_link,
        gzip_static,
        gzip,
        gunzip,
        charset,
        expires,
        headers,
        error_page,
        log,
        stub_status,
        proxy,
        proxy_cookie,
        proxy_ssl,
        upgrade,
        tunnel,
        error_log,
    }
}

/// What is wrong with a statement of [`scope`] beyond its own grammar, given what stands before it
/// in its block.
pub fn scope_check(
    statement: &perdura_conf::Statement,
    before: &scope::Written,
) -> Vec<perdura_conf::Fault> {
    let mut faults = proxy::check(statement, &before.proxy);
    faults.extend(index::check(statement));
    faults.extend(core::check(statement, &before.core));
    faults.extend(access::check(statement));
    faults.extend(realip::check(statement));
    faults.extend(limit_conn::check(statement, &before.limit_conn));
    faults.extend(limit_req::check(statement, &before.limit_req));
    faults.extend(gzip::check(statement, &before.gzip));
    faults.extend(secure_link::check(statement, &before.secure_link));
    faults
}

/// What may stand in `server` alone.
pub mod server_block {
    perdura_conf::modules! { server }
}

/// What may stand in `upstream`.
pub mod upstream_block {
    perdura_conf::modules! { upstream }
}
