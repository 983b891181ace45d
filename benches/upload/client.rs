//! A small blocking HTTP/1.1 client, so that what is measured is the server and not the client.
//!
//! Owns: a connection, plain or TLS, and the few requests of the benchmark.
//! Never does: retry; a request that fails ends the benchmark.
//!
//! Invariant: the bytes of a file are sent from memory and never copied; those of an answer that nobody looks at are read
//! into one small buffer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use serde_json::Value;

use crate::form::{Around, BOUNDARY, Signer};

/// The pipeline of every session.
pub(crate) const PIPELINE: &str = "547f3eede4b025bcbff38657";
/// Bytes read at once; small enough to stay in a processor's cache.
const READ_BYTES: usize = 256 << 10;

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// A session, as its starter was answered.
pub(crate) struct Upload {
    pub(crate) id: String,
    fields: Vec<(String, String)>,
}

/// One connection.
pub(crate) struct Client {
    stream: BufReader<Box<dyn Stream>>,
    host: SocketAddr,
    waste: Vec<u8>,
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

impl Target {
    pub(crate) fn connect(&self) -> Client {
        let mut stream = TcpStream::connect(self.address).expect("the server accepts");
        stream.set_nodelay(true).expect("an option");
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some(config) => {
                let name = ServerName::try_from("localhost").expect("a name");
                let session = ClientConnection::new(Arc::clone(config), name);
                let mut session = session.expect("a TLS session");
                session.complete_io(&mut stream).expect("a handshake");
                Box::new(StreamOwned::new(session, stream))
            }
        };
        Client {
            stream: BufReader::with_capacity(READ_BYTES, stream),
            host: self.address,
            waste: vec![0; READ_BYTES],
        }
    }
}

impl Client {
    /// Posts an object in one piece, signed by a policy for any key.
    pub(crate) fn post(&mut self, signer: &Signer, key: &str, bytes: &[u8]) {
        let status = self.send_form(signer.path(), &signer.around(key), bytes);
        assert_eq!(status, 204, "a post is accepted");
    }

    /// Starts a session.
    pub(crate) fn start(&mut self, object_key: &str) -> Upload {
        let path = format!("/v1/files/uploads/?object_key={object_key}&pipeline_id={PIPELINE}");
        let upload = self.json("POST", &path);
        let upload = &upload["upload"];
        let params = upload["form_post_params"].as_object().expect("params");
        let fields = params
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
        Upload {
            id: upload["id"].as_str().expect("an id").to_owned(),
            fields: fields.collect(),
        }
    }

    /// Posts one chunk of a session.
    pub(crate) fn post_chunk(&mut self, upload: &Upload, index: usize, count: usize, bytes: &[u8]) {
        let (index, count) = (index.to_string(), count.to_string());
        let own = |name: &str| matches!(name, "chunk" | "chunks");
        let fields = upload.fields.iter().filter(|(name, _)| !own(name));
        let fields = fields.map(|(name, value)| (name.as_str(), value.as_str()));
        let around = Around::of(fields.chain([("chunk", &*index), ("chunks", &*count)]));
        let status = self.send_form("/uploads/", &around, bytes);
        assert_eq!(status, 201, "a chunk is accepted");
    }

    /// A download link of a session's object, as a path with its query.
    pub(crate) fn link(&mut self, object_key: &str) -> String {
        let path = format!("/v1/files/downloads/?object_key={object_key}&pipeline_id={PIPELINE}");
        link_of(&self.json("GET", &path))
    }

    /// A download link of a file, as a path with its query.
    pub(crate) fn link_to_file(&mut self, id: &str) -> String {
        link_of(&self.json("GET", &format!("/v1/files/downloads/?file_id={id}")))
    }

    /// Reads a path to its end; the bytes are only counted.
    pub(crate) fn get(&mut self, path: &str, length: usize) {
        self.send_head("GET", path, "", b"");
        let (status, found) = self.receive_head();
        assert_eq!((status, found), (200, length), "{path} is served");
        let mut left = length;
        while left > 0 {
            let wanted = left.min(self.waste.len());
            let read = self.stream.read(&mut self.waste[..wanted]);
            left -= match read.expect("the body") {
                0 => panic!("{path} was cut short"),
                read => read,
            };
        }
    }

    /// Puts a file, as WebDAV and S3 do it.
    pub(crate) fn put(&mut self, path: &str, bytes: &[u8]) {
        let length = format!("Content-Length: {}\r\n", bytes.len());
        self.send_head("PUT", path, &length, b"");
        self.write(bytes);
        let (status, _) = self.receive();
        assert!(
            matches!(status, 200 | 201 | 204),
            "a PUT is accepted: {status}"
        );
    }

    /// Asks the REST API.
    pub(crate) fn json(&mut self, method: &str, path: &str) -> Value {
        serde_json::from_str(&self.text(method, path)).expect("JSON")
    }

    /// The body of an answer that is a success.
    pub(crate) fn text(&mut self, method: &str, path: &str) -> String {
        self.send_head(method, path, "Content-Length: 0\r\n", b"");
        let (status, body) = self.receive();
        let body = String::from_utf8(body).expect("text");
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    fn send_form(&mut self, path: &str, around: &Around, file: &[u8]) -> u16 {
        let length = around.head.len() + file.len() + around.tail.len();
        let headers = format!(
            "Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {length}\r\n"
        );
        self.send_head("POST", path, &headers, &around.head);
        self.write(file);
        self.write(around.tail.as_bytes());
        let (status, body) = self.receive();
        if status >= 300 {
            println!("{}", String::from_utf8_lossy(&body));
        }
        status
    }

    fn send_head(&mut self, method: &str, path: &str, headers: &str, begin: &[u8]) {
        let host = self.host;
        // A form and a presigned URL prove who sent them.
        let token = match path.starts_with("/v1/") {
            true => "Authorization: Bearer dev-token\r\n",
            false => "",
        };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{token}{headers}\r\n");
        self.write(&[head.as_bytes(), begin].concat());
    }

    fn write(&mut self, bytes: &[u8]) {
        let stream = self.stream.get_mut();
        stream.write_all(bytes).expect("the request is sent");
        stream.flush().expect("the request is sent");
    }

    fn receive(&mut self) -> (u16, Vec<u8>) {
        let (status, length) = self.receive_head();
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("the body");
        (status, body)
    }

    /// The status, and the length of the body.
    fn receive_head(&mut self) -> (u16, usize) {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a status line");
        let status = line.split(' ').nth(1);
        let status = status.and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("a status: {line:?}"));
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line).expect("a header");
            if line == "\r\n" {
                return (status, length);
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
    }
}

fn link_of(answer: &Value) -> String {
    let uri = answer["download"]["uri"].as_str().expect("a link");
    uri[uri.find("/v1/").expect("our link")..].to_owned()
}
