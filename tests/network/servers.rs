//! Servers and proxies on loopback, good and bad ones. Each runs as long as the test binary.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A certificate authority, and a server certificate that it issued.
pub struct Authority {
    pub pem: String,
    pub server: Arc<ServerConfig>,
}

/// Creates one named `name`, whose server certificate is for `hosts` and expires at the end of `last_year`.
pub fn authority(name: &str, hosts: &[&str], last_year: i32) -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let issuer = Issuer::from_params(&params, &key);

    let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.not_after = date_time_ymd(last_year, 12, 31);
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &issuer).unwrap();
    Authority {
        pem: certificate.pem(),
        server: server_config(&leaf, &key),
    }
}

fn server_config(leaf: &Certificate, key: &KeyPair) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    Arc::new(config)
}

/// Calls `talk` for each connection, on a separate thread. Returns the port.
pub fn listen(talk: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let talk = Arc::new(talk);
    thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let talk = Arc::clone(&talk);
            thread::spawn(move || talk(connection));
        }
    });
    port
}

/// Waits for the next request that a server received. The limit is only reached if something is broken.
#[track_caller]
pub fn next(heard: &mpsc::Receiver<String>) -> String {
    heard.recv_timeout(Duration::from_mins(1)).unwrap()
}

/// A port that nothing listens on.
pub fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Sends this answer to each request, and passes on the requests.
pub fn plain(answer: impl Into<Vec<u8>>) -> (u16, mpsc::Receiver<String>) {
    let (heard, requests) = mpsc::channel();
    let answer = answer.into();
    let port = listen(move |stream| {
        let _ = heard.send(converse(stream, &answer));
    });
    (port, requests)
}

/// The same over TLS. Connections without a request are not reported.
pub fn encrypted(
    config: &Arc<ServerConfig>,
    answer: &'static str,
) -> (u16, mpsc::Receiver<String>) {
    let (heard, requests) = mpsc::channel();
    let config = Arc::clone(config);
    let port = listen(move |stream| {
        let request = converse(wrap(&config, stream), answer.as_bytes());
        if !request.is_empty() {
            let _ = heard.send(request);
        }
    });
    (port, requests)
}

pub fn wrap<S: Read + Write>(
    config: &Arc<ServerConfig>,
    stream: S,
) -> StreamOwned<ServerConnection, S> {
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream)
}

/// Reads one request, answers it, and returns the request.
pub fn converse(mut stream: impl Read + Write, answer: &[u8]) -> String {
    let mut request = head(&mut stream);
    let length = request
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    // Clients disconnect if they reject the certificate or the answer.
    let _ = stream.read_exact(&mut body);
    request += &String::from_utf8_lossy(&body);
    let _ = stream.write_all(answer).and_then(|()| stream.flush());
    request
}

/// Reads the lines up to the empty one, byte by byte, as what follows is read by others.
fn head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// An HTTP proxy (CONNECT) that connects to the same server whatever host is requested. It requires `password`
/// (user:password in Base64), if given, and passes on the requests it receives.
pub fn connect_proxy(server: u16, password: Option<&'static str>) -> (u16, mpsc::Receiver<String>) {
    let (heard, requests) = mpsc::channel();
    let port = listen(move |mut client| {
        let request = head(&mut client);
        let is_allowed = password.is_none_or(|password| {
            request.contains(&format!("\r\nProxy-Authorization: Basic {password}\r\n"))
        });
        heard.send(request).unwrap();
        if !is_allowed {
            let _ = client.write_all(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            );
            return;
        }
        client
            .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            .unwrap();
        relay(client, TcpStream::connect(("127.0.0.1", server)).unwrap());
    });
    (port, requests)
}

/// A proxy that is itself reached over TLS. It answers every request itself, over TLS within TLS.
pub fn encrypted_proxy(config: &Arc<ServerConfig>) -> u16 {
    let config = Arc::clone(config);
    listen(move |client| {
        let mut client = wrap(&config, client);
        head(&mut client);
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        converse(wrap(&config, client), OK.as_bytes());
    })
}

/// A proxy whose response to CONNECT trickles until it is told to finish. Then it passes on what it receives.
pub fn late_proxy() -> (u16, mpsc::Sender<()>, mpsc::Receiver<String>) {
    let (finish, told) = mpsc::channel();
    let (heard, received) = mpsc::channel();
    let told = Mutex::new(told);
    let port = listen(move |mut client| {
        head(&mut client);
        client.write_all(b"HTTP/1.1 200 OK\r\nX:").unwrap();
        let told = told.lock().unwrap();
        // A client that gave up has closed the connection.
        while told.recv_timeout(Duration::from_millis(50)).is_err() {
            let _ = client.write_all(b" ");
        }
        let _ = client.write_all(b"\r\n\r\n");
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        heard
            .send(String::from_utf8_lossy(&rest).into_owned())
            .unwrap();
    });
    (port, finish, received)
}

/// A SOCKS5 proxy (RFC 1928). It requires `login`, if given, in the form of RFC 1929, and reports the requested
/// destination: `address 192.0.2.7` or `name x.test`.
pub fn socks_proxy(server: u16, login: Option<&'static [u8]>) -> (u16, mpsc::Receiver<String>) {
    let (heard, requests) = mpsc::channel();
    let port = listen(move |mut client| {
        assert_eq!(take(&mut client, 1), [5]);
        let count = take(&mut client, 1)[0];
        let methods = take(&mut client, count.into());
        match login {
            None => client.write_all(&[5, 0]).unwrap(),
            Some(_) if !methods.contains(&2) => return client.write_all(&[5, 0xff]).unwrap(),
            Some(login) => {
                client.write_all(&[5, 2]).unwrap();
                let is_right = take(&mut client, login.len()) == login;
                client.write_all(&[1, u8::from(!is_right)]).unwrap();
                if !is_right {
                    return;
                }
            }
        }
        let request = take(&mut client, 4);
        let target = match request[3] {
            1 => format!("address {:?}", take(&mut client, 4)),
            3 => {
                let length = take(&mut client, 1)[0];
                format!(
                    "name {}",
                    String::from_utf8(take(&mut client, length.into())).unwrap()
                )
            }
            other => format!("type {other}"),
        };
        take(&mut client, 2);
        heard.send(target).unwrap();
        // The bound address may be an IP address or a name, independent of the request.
        let from: &[u8] = match request[3] {
            1 => b"\x01\0\0\0\0",
            _ => b"\x03\x06x.test",
        };
        let answer = [b"\x05\0\0", from, b"\0\0"].concat();
        client.write_all(&answer).unwrap();
        relay(client, TcpStream::connect(("127.0.0.1", server)).unwrap());
    });
    (port, requests)
}

fn take(stream: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn relay(client: TcpStream, server: TcpStream) {
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || io::copy(&mut from, &mut to));
    let (mut from, mut to) = (server, client);
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

/// Answers each request, and then resets the connection: the system does so if received data was left unread.
#[cfg(target_os = "linux")]
pub fn resetting(answer: String) -> u16 {
    listen(move |mut stream| {
        head(&mut stream);
        stream.peek(&mut [0]).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
    })
}

/// Accepts connections and reads, but never responds.
pub fn silent() -> u16 {
    listen(|mut stream| {
        let _ = io::copy(&mut stream, &mut io::sink());
    })
}

/// Sends this after the request, and then one space after another.
pub fn trickling(beginning: &'static str) -> u16 {
    listen(move |mut stream| {
        head(&mut stream);
        stream.write_all(beginning.as_bytes()).unwrap();
        while stream.write_all(b" ").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    })
}

/// Sends this as soon as it receives anything, and then closes the connection.
pub fn saying(text: &'static str) -> u16 {
    listen(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(text.as_bytes());
        // Closing a connection with unread data resets it, and loses what was sent.
        let _ = stream.shutdown(Shutdown::Write);
        let _ = io::copy(&mut stream, &mut io::sink());
    })
}
