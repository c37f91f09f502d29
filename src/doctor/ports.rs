//! Findings about the ports that the browser comes back to, and who holds them.

use std::fs;
use std::path::Path;

use super::finding::{Finding, Level};
use crate::login::callback;
use crate::settings;
use crate::text::printable;

/// A socket that listens, in the tables of the Linux kernel.
const LISTENS: &str = "0A";

pub fn findings(sign_in: &str) -> Vec<Finding> {
    let ports = match settings::callback_ports() {
        Ok(ports) => ports,
        Err(error) => {
            return vec![Finding::problem(
                "port",
                format!("{error:#}"),
                "correct the variable",
            )];
        }
    };
    tolerated(ports.iter().map(|port| of_port(*port, sign_in)).collect())
}

/// One free port is enough: then a busy one is no problem.
fn tolerated(mut findings: Vec<Finding>) -> Vec<Finding> {
    if findings.iter().any(|finding| finding.level == Level::Ok) {
        let busy = findings
            .iter_mut()
            .filter(|finding| finding.level == Level::Problem);
        busy.for_each(|finding| finding.level = Level::Warning);
    }
    findings
}

fn of_port(port: u16, sign_in: &str) -> Finding {
    let instead = format!("use {sign_in} --device-code");
    match callback::listen(&[port]) {
        Ok(Some(_)) if port == 0 => Finding::ok("port", "any free one"),
        Ok(Some(_)) => Finding::ok("port", format!("{port} is free")),
        Ok(None) => Finding::problem(
            "port",
            format!("{port} is in use by {}", holder(port)),
            format!("end it, or {instead}"),
        ),
        Err(error) => Finding::problem("port", format!("{error:#}"), instead),
    }
}

/// The program that listens there: only Linux tells, and only about programs of the same user.
fn holder(port: u16) -> String {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"]
        .map(|path| fs::read_to_string(path).unwrap_or_default());
    let sockets: Vec<String> = tables
        .iter()
        .flat_map(|table| listeners(table, port))
        .collect();
    let processes = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let named = processes
        .filter(|process| holds(&process.path(), &sockets))
        .find_map(|process| {
            let name = fs::read_to_string(process.path().join("comm")).ok()?;
            let id = process.file_name().into_string().ok()?;
            Some(format!("{} (process {id})", printable(&name)))
        });
    named.unwrap_or_else(|| "another program".to_owned())
}

/// The sockets that listen on a port, by the names that the links in `/proc/PID/fd` lead to (proc(5), `/proc/net/tcp`).
fn listeners(table: &str, port: u16) -> Vec<String> {
    let at_port = format!(":{port:04X}");
    let inode = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let fits = columns.get(1)?.ends_with(&at_port) && *columns.get(3)? == LISTENS;
        fits.then(|| columns.get(9).map(|inode| format!("socket:[{inode}]")))?
    };
    table.lines().skip(1).filter_map(inode).collect()
}

fn holds(process: &Path, sockets: &[String]) -> bool {
    let files = fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let mut links = files.filter_map(|file| fs::read_link(file.path()).ok());
    links.any(|link| {
        sockets
            .iter()
            .any(|socket| link.as_os_str() == socket.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_free_port_is_enough() {
        let (free, busy) = (
            || Finding::ok("port", "free"),
            || Finding::problem("port", "busy", "end it"),
        );
        let levels = |findings: Vec<Finding>| -> Vec<Level> {
            let tolerated = tolerated(findings);
            tolerated.iter().map(|finding| finding.level).collect()
        };
        assert_eq!(levels(vec![busy(), free()]), [Level::Warning, Level::Ok]);
        assert_eq!(levels(vec![busy(), busy()]), [Level::Problem; 2]);
    }

    #[test]
    fn listeners_are_found_in_the_tables_of_the_kernel() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:05AF 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0 100 0\n\
             1: 0100007F:05AF 0100007F:D2F0 01 00000000:00000000 00:00000000 00000000  1000        0 4343 1 0 100 0\n\
             2: 0100007F:05B1 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4444 1 0 100 0\n\
             3: 0100007F:15AF\n";
        assert_eq!(listeners(table, 1455), ["socket:[4242]"]);
        assert_eq!(listeners(table, 1457), ["socket:[4444]"]);
        assert!(listeners("", 1455).is_empty());
    }
}
