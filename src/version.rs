//! What `-v`, `-V` and `-h` print, in nginx's shape, with the honest list of what is in. The words of
//! `-h` are in `usage`.

use crate::cli::{Command, Show};
use crate::{paths, usage};

/// The version of nginx whose configuration and behaviour we follow.
pub const NGINX: &str = "1.31.5";

/// `perdura/0.1.0`.
pub const PERDURA: &str = concat!("perdura/", env!("CARGO_PKG_VERSION"));

/// The compiler, as `rustc --version` names it.
pub const COMPILER: &str = env!("PERDURA_COMPILER");

/// nginx's modules that its `configure` builds unless told otherwise, and whether we have them.
///
/// One list for `-V`; whoever builds a module changes its line here.
const DEFAULT_MODULES: &[(&str, Built)] = &[
    ("http_charset_module", Built::Yes),
    ("http_gzip_module", Built::Yes),
    ("http_ssi_module", Built::No),
    ("http_userid_module", Built::No),
    ("http_access_module", Built::Yes),
    ("http_auth_basic_module", Built::Yes),
    ("http_mirror_module", Built::No),
    ("http_autoindex_module", Built::Yes),
    ("http_geo_module", Built::Yes),
    ("http_map_module", Built::Yes),
    ("http_split_clients_module", Built::Yes),
    ("http_referer_module", Built::Yes),
    ("http_rewrite_module", Built::Yes),
    ("http_proxy_module", Built::Yes),
    ("http_fastcgi_module", Built::No),
    ("http_uwsgi_module", Built::No),
    ("http_scgi_module", Built::No),
    ("http_grpc_module", Built::No),
    ("http_tunnel_module", Built::Yes),
    ("http_memcached_module", Built::No),
    ("http_limit_conn_module", Built::Yes),
    ("http_limit_req_module", Built::Yes),
    ("http_empty_gif_module", Built::No),
    ("http_browser_module", Built::No),
    ("http_upstream_hash_module", Built::Yes),
    ("http_upstream_ip_hash_module", Built::Yes),
    ("http_upstream_least_conn_module", Built::Yes),
    ("http_upstream_least_time_module", Built::No),
    ("http_upstream_random_module", Built::Yes),
    ("http_upstream_keepalive_module", Built::Yes),
    ("http_upstream_zone_module", Built::Yes),
    ("http_upstream_sticky_module", Built::No),
];

/// nginx's modules that are built only when `configure` is told so, and that we have.
const EXTRA_MODULES: &[&str] = &[
    "http_auth_request_module",
    "http_gunzip_module",
    "http_gzip_static_module",
    "http_stub_status_module",
    "http_realip_module",
    "http_secure_link_module",
    "http_ssl_module",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Built {
    Yes,
    No,
}

/// Prints what the command line wants to see, on stderr as nginx does.
pub fn show(command: &Command) {
    eprint!("{}", text(command.show));
}

fn text(show: Show) -> String {
    let mut text = String::new();
    if show.version {
        text += &format!("perdura version: {PERDURA}\n");
    }
    if show.help {
        text += &usage::help();
    }
    if show.configure {
        text += &format!("nginx version: nginx/{NGINX} (compatibility level)\n");
        text += &format!("built by {COMPILER}\n");
        text += &format!("configure arguments: {}\n", configure_arguments());
    }
    text
}

/// What `configure` would have been told to get an nginx with the modules that we have.
pub fn configure_arguments() -> String {
    let prefix = paths::PREFIX.trim_end_matches('/');
    let mut words = vec![
        format!("--prefix={prefix}"),
        format!("--conf-path={}", paths::CONF),
        format!("--error-log-path={}", paths::ERROR_LOG),
        format!("--http-log-path={}", paths::ACCESS_LOG),
        format!("--pid-path={}", paths::PID),
    ];
    words.extend(EXTRA_MODULES.iter().map(|module| format!("--with-{module}")));
    let absent = DEFAULT_MODULES.iter().filter(|(_, built)| *built == Built::No);
    words.extend(absent.map(|(module, _)| format!("--without-{module}")));
    words.push("--without-http-cache".into());
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> String {
        text(crate::cli::read([line.into()]).unwrap().show)
    }

    #[test]
    fn the_version_alone() {
        assert_eq!(of("-v"), "perdura version: perdura/0.1.0\n");
        assert_eq!(of("-t"), "");
    }

    #[test]
    fn scripts_find_the_version_and_the_modules_of_nginx() {
        let text = of("-V");
        assert!(text.contains("\nnginx version: nginx/1.31.5 (compatibility level)\n"), "{text}");
        assert!(text.contains("\nbuilt by rustc 1."), "{text}");
        assert!(text.contains("\nconfigure arguments: --prefix="), "{text}");
        assert!(text.contains(" --without-http_ssi_module "), "{text}");
        assert!(!text.contains("http_proxy_module"), "{text}");
        assert!(text.contains(" --with-http_ssl_module "), "{text}");
    }

    #[test]
    fn help_names_every_option() {
        let text = of("-h");
        assert!(text.starts_with("perdura version: perdura/0.1.0\nUsage: perdura ["), "{text}");
        for option in [
            "-?,-h",
            "-v ",
            "-V ",
            "-t ",
            "-T ",
            "-q ",
            "-s ",
            "-p ",
            "-e ",
            "-c ",
            "-g ",
            "--explain ",
        ] {
            assert!(text.contains(&format!("\n  {option}")), "{option}");
        }
    }

    #[test]
    fn no_module_is_listed_twice() {
        let mut names: Vec<_> = DEFAULT_MODULES.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DEFAULT_MODULES.len());
    }
}
