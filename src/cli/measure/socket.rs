//! One websocket as a browser holds it, with as little work as possible, because the server is measured.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Instant;

use actix_web::rt::net::{TcpSocket, TcpStream};
use anyhow::Context;

use crate::clock::Clock;
use crate::domain::money::units::Timestamp;

/// Receive buffer in the kernel for a browser that does not read.
const STALLED_BUFFER_BYTES: u32 = 4096;
/// A masked, empty pong.
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;

pub struct Socket {
    stream: TcpStream,
    received: Vec<u8>,
    /// How many bytes of `received` are read already.
    read: usize,
}

/// The fields of a live row that the measurement needs.
#[derive(serde::Deserialize)]
struct Frame {
    seq: u64,
    row: Option<serde::de::IgnoredAny>,
}

/// Everything that one socket received.
#[derive(Default)]
pub struct Received {
    /// Number and arrival of each row, in order of arrival.
    pub rows: Vec<(u64, Timestamp)>,
    pub bytes: u64,
    /// Whether the server closed the socket.
    pub ended: bool,
}

impl Socket {
    /// Opens `/ws/live`; a stalled socket has the smallest buffer in the kernel.
    pub async fn open(origin: &str, cookie: &str, stalled: bool) -> anyhow::Result<Self> {
        let host = origin.trim_start_matches("http://");
        let address: SocketAddr = host.parse().context("the server's address is invalid")?;
        let socket = TcpSocket::new_v4()?;
        if stalled {
            socket.set_recv_buffer_size(STALLED_BUFFER_BYTES)?;
        }
        let stream = socket.connect(address).await.context("the server accepts no further connection")?;
        let mut this = Self { stream, received: Vec::new(), read: 0 };
        let request = format!(
            "GET /ws/live HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\ncookie: {cookie}\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: bWVhc3VyZSBzb2NrZXRzIQ==\r\n\r\n"
        );
        this.write(request.as_bytes()).await?;
        loop {
            anyhow::ensure!(this.fill().await?, "the server closed a socket before it was open");
            if let Some(end) = this.received.windows(4).position(|four| four == b"\r\n\r\n") {
                anyhow::ensure!(this.received.starts_with(b"HTTP/1.1 101"), "the server opens no websocket");
                this.read = end + 4;
                return Ok(this);
            }
        }
    }

    /// Listens until `until`, or until the server closes the socket.
    pub async fn listen(mut self, until: Instant) -> anyhow::Result<Received> {
        let mut received = Received::default();
        loop {
            while let Some((kind, payload)) = self.next_frame() {
                match kind {
                    TEXT => received.add(&self.received[payload])?,
                    PING => self.write(&PONG).await?,
                    CLOSE => received.ended = true,
                    _ => {}
                }
            }
            self.received.drain(..self.read);
            self.read = 0;
            if received.ended {
                return Ok(received);
            }
            match tokio::time::timeout_at(until.into(), self.fill()).await {
                Ok(is_open) => received.ended = !is_open?,
                Err(_) => return Ok(received),
            }
        }
    }

    /// Reads everything on its way, and returns whether the server has closed the socket.
    pub async fn was_cut(self, until: Instant) -> bool {
        match self.listen(until).await {
            Ok(received) => received.ended,
            Err(_) => true,
        }
    }

    /// Returns the kind of the next complete frame, and the range of its payload.
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

    /// Reads the available bytes; returns false at the end of the stream.
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

impl Received {
    /// Adds the rows of a text message, which is one frame or an array of frames.
    fn add(&mut self, text: &[u8]) -> anyhow::Result<()> {
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
