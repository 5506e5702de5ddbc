//! A mirror on loopback that serves what a test gives it, and answers as a proxy too.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Files by path; what is not here is not found.
pub type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

pub struct Mirror {
    pub port: u16,
    pub files: Files,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Mirror {
    pub fn start() -> Mirror {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let files = Files::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (served, log) = (Arc::clone(&files), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &served, &log);
            }
        });
        Mirror { port, files, seen }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    pub fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.files
            .lock()
            .unwrap()
            .insert(format!("/{path}"), content.into());
    }

    pub fn remove(&self, path: &str) {
        self.files.lock().unwrap().remove(&format!("/{path}"));
    }

    /// What was asked for since the last call, with the answers.
    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn answer(mut stream: TcpStream, files: &Files, log: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_string();
    let unchanged = head.to_ascii_lowercase().contains("if-none-match: \"fixed\"");
    let content = files.lock().unwrap().get(&target).cloned();
    let (status, body) = match content {
        Some(_) if unchanged => ("304 Not Modified", Vec::new()),
        Some(content) => ("200 OK", content),
        None => ("404 Not Found", Vec::new()),
    };
    log.lock().unwrap().push(format!("{} {target}", &status[..3]));
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nETag: \"fixed\"\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body));
}
