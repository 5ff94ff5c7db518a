//! One websocket as a browser holds it, with as little work as possible: what is measured is the server.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Instant;

use actix_web::rt::net::{TcpSocket, TcpStream};
use anyhow::Context;

use crate::clock::Clock;
use crate::domain::money::units::Timestamp;

/// What a browser that does not read lets the kernel keep for it.
const STALLED_BUFFER_BYTES: u32 = 4096;
/// A masked, empty pong.
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;

pub struct Socket {
    stream: TcpStream,
    received: Vec<u8>,
    /// How much of `received` is read already.
    read: usize,
}

/// A live row, as far as the measurement looks at it.
#[derive(serde::Deserialize)]
struct Frame {
    seq: u64,
    row: Option<serde::de::IgnoredAny>,
}

/// What came in on one socket.
#[derive(Default)]
pub struct Heard {
    /// Number and arrival of each row, in order of arrival.
    pub rows: Vec<(u64, Timestamp)>,
    pub bytes: u64,
    /// The server ended it.
    pub ended: bool,
}

impl Socket {
    /// Opens `/ws/live`; a stalled one keeps as little as possible in the kernel.
    pub async fn open(origin: &str, cookie: &str, stalled: bool) -> anyhow::Result<Self> {
        let host = origin.trim_start_matches("http://");
        let address: SocketAddr = host.parse().context("the server's address")?;
        let socket = TcpSocket::new_v4()?;
        if stalled {
            socket.set_recv_buffer_size(STALLED_BUFFER_BYTES)?;
        }
        let stream = socket.connect(address).await.context("the server takes no further connection")?;
        let mut this = Self { stream, received: Vec::new(), read: 0 };
        let request = format!(
            "GET /ws/live HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\ncookie: {cookie}\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: bWVhc3VyZSBzb2NrZXRzIQ==\r\n\r\n"
        );
        this.write(request.as_bytes()).await?;
        loop {
            anyhow::ensure!(this.fill().await?, "the server ended a socket before it was open");
            if let Some(end) = this.received.windows(4).position(|four| four == b"\r\n\r\n") {
                anyhow::ensure!(this.received.starts_with(b"HTTP/1.1 101"), "the server opens no websocket");
                this.read = end + 4;
                return Ok(this);
            }
        }
    }

    /// Listens until `until`, or until the server ends it.
    pub async fn listen(mut self, until: Instant) -> anyhow::Result<Heard> {
        let mut heard = Heard::default();
        loop {
            while let Some((kind, payload)) = self.next_frame() {
                match kind {
                    TEXT => heard.note(&self.received[payload])?,
                    PING => self.write(&PONG).await?,
                    CLOSE => heard.ended = true,
                    _ => {}
                }
            }
            self.received.drain(..self.read);
            self.read = 0;
            if heard.ended {
                return Ok(heard);
            }
            match tokio::time::timeout_at(until.into(), self.fill()).await {
                Ok(true_or_end) => heard.ended = !true_or_end?,
                Err(_) => return Ok(heard),
            }
        }
    }

    /// Whether the server has ended it, after everything that was on its way is read.
    pub async fn was_cut(self, until: Instant) -> bool {
        match self.listen(until).await {
            Ok(heard) => heard.ended,
            Err(_) => true,
        }
    }

    /// The kind of the next whole frame, and where its payload stands.
    fn next_frame(&mut self) -> Option<(u8, std::ops::Range<usize>)> {
        let rest = self.received.get(self.read..)?;
        let (kind, short) = (rest.first()? & 0x0f, rest.get(1)? & 0x7f);
        let (head, length) = match short {
            126 => (4, usize::from(u16::from_be_bytes(rest.get(2..4)?.try_into().ok()?))),
            127 => (10, usize::try_from(u64::from_be_bytes(rest.get(2..10)?.try_into().ok()?)).ok()?),
            short => (2, usize::from(short)),
        };
        let start = self.read + head;
        if self.received.len() < start + length {
            return None;
        }
        self.read = start + length;
        Some((kind, start..start + length))
    }

    /// Reads what is there; false at the end.
    async fn fill(&mut self) -> std::io::Result<bool> {
        loop {
            self.stream.readable().await?;
            self.received.reserve(16 * 1024);
            match self.stream.try_read_buf(&mut self.received) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn write(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Heard {
    /// Takes a text: one frame, or an array of them.
    fn note(&mut self, text: &[u8]) -> anyhow::Result<()> {
        let at = Clock::System.now();
        self.bytes += text.len() as u64;
        let frames: Vec<Frame> = match text.first() {
            Some(b'[') => serde_json::from_slice(text)?,
            _ => vec![serde_json::from_slice(text)?],
        };
        self.rows.extend(frames.iter().filter(|frame| frame.row.is_some()).map(|frame| (frame.seq, at)));
        Ok(())
    }
}
