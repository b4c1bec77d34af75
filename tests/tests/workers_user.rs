//! A worker that runs as another user than its master: what it keeps of root's rights.

use perdura_tests::{Client, Proxy, Setup};
use rustix::process::Pid;

const CAP_NET_RAW: u64 = 1 << 13;

/// A server whose worker is of the user `nobody`, with `server` in its block.
fn of_nobody(server: &str) -> Proxy {
    let conf = format!(
        "daemon off; user nobody nogroup; error_log @dir@/error.log info; pid @dir@/proxy.pid;
        events {{ }}
        http {{
            client_body_temp_path @dir@/temp; proxy_temp_path @dir@/temp; access_log off;
            server {{ listen @listen@; location / {{ return 204; }} {server} }}
        }}"
    );
    Proxy::examined(&Setup::whole(&conf))
}

/// The number behind a name in `/proc/PID/status`.
fn hexadecimal(pid: Pid, name: &str) -> u64 {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let text = std::fs::read_to_string(path).expect("the worker's state");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line of this name");
    u64::from_str_radix(line.trim(), 16).expect("a hexadecimal number")
}

/// Effective and permitted, and what a program that it starts would get.
fn rights(proxy: &Proxy) -> [u64; 3] {
    let worker = *proxy.workers().first().expect("a worker");
    ["CapEff:", "CapPrm:", "CapInh:"].map(|name| hexadecimal(worker, name))
}

#[test]
fn a_worker_keeps_no_right_of_root() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let proxy = of_nobody("location /a { proxy_bind 127.0.0.2; proxy_pass http://127.0.0.1:1; }");
    assert_eq!(Client::get(proxy.address(), "/").status(), 204);
    assert_eq!(rights(&proxy), [0; 3]);
}

/// `transparent` needs one right, wherever it stands.
#[test]
fn a_worker_that_takes_other_machines_addresses_keeps_the_right_to() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for directive in ["proxy_bind", "tunnel_bind"] {
        let server = format!("location /a {{ {directive} $remote_addr transparent; }}");
        let proxy = of_nobody(&server);
        assert_eq!(Client::get(proxy.address(), "/").status(), 204);
        assert_eq!(rights(&proxy), [CAP_NET_RAW, CAP_NET_RAW, 0]);
    }
}
