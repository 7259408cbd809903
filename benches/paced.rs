//! Asks at a fixed rate, whatever the answers do, and says how long they took from the instant at which their question was due:
//! who waits for an answer before the next question hides the queue behind a slow one.
//!
//! `paced http ADDRESS RATE SECONDS CONNECTIONS FILE` sends the bytes of FILE as a request of HTTP/1.1;
//! `paced grpc ADDRESS RATE SECONDS STREAMS FILE PATH [NAME VALUE]…` calls PATH by HTTP/2 with FILE as the message and its
//! prefix, over one connection, as Envoy does. RATE is in questions a second. The first second is not counted.
//! Spins: it wants a core of its own. Any answer but 200 ends it; what a gRPC method said, only its server knows.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::collections::HashMap;
use std::io::{Error, ErrorKind, Read as _, Result, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long the last answers are waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Beginning of what is not counted.
const WARMING: Duration = Duration::from_secs(1);

trait Wire {
    /// Whether another question can be asked now.
    fn free(&self) -> bool;
    fn ask(&mut self, due: Instant) -> Result<()>;
    /// Tells of every answer that has come when its question was due.
    fn hear(&mut self, heard: &mut dyn FnMut(Instant)) -> Result<()>;
    fn under_way(&self) -> usize;
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

fn connect(address: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// What has come, appended; `false` when nothing has.
fn take(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<bool> {
    let mut part = [0; 16 * 1024];
    match stream.read(&mut part) {
        Ok(0) => Err(broken("the server hung up")),
        Ok(length) => {
            buffer.extend_from_slice(part.get(..length).unwrap_or_default());
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    due: Instant,
}

impl Connection {
    /// Whether the answer is complete.
    fn answered(&self) -> Result<bool> {
        let Some(head) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(false) };
        let text = std::str::from_utf8(self.buffer.get(..head).unwrap_or_default()).map_err(|_| broken("no text"))?;
        if !text.starts_with("HTTP/1.1 200") {
            return Err(broken(text));
        }
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let length = lines.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length.and_then(|(_, value)| value.trim().parse().ok()).ok_or_else(|| broken(text))?;
        Ok(self.buffer.len() >= head + 4 + length)
    }
}

struct Http {
    question: Vec<u8>,
    idle: Vec<Connection>,
    busy: Vec<Connection>,
}

impl Http {
    fn new(address: &str, connections: usize, question: Vec<u8>) -> Result<Self> {
        let one = |_| Ok(Connection { stream: connect(address)?, buffer: Vec::new(), due: Instant::now() });
        Ok(Self { question, idle: (0..connections).map(one).collect::<Result<_>>()?, busy: Vec::new() })
    }
}

impl Wire for Http {
    fn free(&self) -> bool {
        !self.idle.is_empty()
    }

    fn ask(&mut self, due: Instant) -> Result<()> {
        if let Some(mut connection) = self.idle.pop() {
            connection.due = due;
            connection.stream.write_all(&self.question)?;
            self.busy.push(connection);
        }
        Ok(())
    }

    fn hear(&mut self, heard: &mut dyn FnMut(Instant)) -> Result<()> {
        let mut index = 0;
        while let Some(connection) = self.busy.get_mut(index) {
            if take(&mut connection.stream, &mut connection.buffer)? && connection.answered()? {
                heard(connection.due);
                connection.buffer.clear();
                self.idle.push(self.busy.swap_remove(index));
            } else {
                index += 1;
            }
        }
        Ok(())
    }

    fn under_way(&self) -> usize {
        self.busy.len()
    }
}

/// As much of HTTP/2 (RFC 9113) as one client needs that asks the same again and again.
struct Grpc {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Header block and message: only the number of the stream differs.
    head: Vec<u8>,
    message: Vec<u8>,
    streams: usize,
    next: u32,
    due: HashMap<u32, Instant>,
    /// What the server takes now, in bytes.
    window: usize,
    /// What came since we last made room, in bytes.
    taken: u32,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = length.get(1..).unwrap_or_default().to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A length in seven bits, or more where it needs them (RFC 7541, section 5.1).
fn length(of: &str, block: &mut Vec<u8>) {
    let mut rest = of.len();
    if rest < 127 {
        block.extend(u8::try_from(rest));
        return;
    }
    block.push(127);
    rest -= 127;
    while rest >= 128 {
        block.extend(u8::try_from(rest % 128 + 128));
        rest /= 128;
    }
    block.extend(u8::try_from(rest));
}

/// Headers as they stand: neither indexed nor compressed (RFC 7541, section 6.2.2).
fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            length(text, &mut block);
            block.extend(text.as_bytes());
        }
    }
    block
}

impl Grpc {
    fn new(address: &str, streams: usize, message: Vec<u8>, path: &str, more: &[(&str, &str)]) -> Result<Self> {
        let mut stream = connect(address)?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
        let own = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", address),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        let head = block(&[&own, more].concat());
        let (buffer, due) = (Vec::new(), HashMap::new());
        Ok(Self { stream, buffer, head, message, streams, next: 1, due, window: 65_535, taken: 0 })
    }

    fn receive(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
        heard: &mut dyn FnMut(Instant),
    ) -> Result<()> {
        match kind {
            DATA => self.taken += u32::try_from(payload.len()).unwrap_or(u32::MAX),
            SETTINGS if flags & ACK == 0 => self.stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?,
            PING if flags & ACK == 0 => self.stream.write_all(&frame(PING, ACK, 0, payload))?,
            WINDOW if stream == 0 => {
                let room = payload.try_into().map(u32::from_be_bytes).map_err(|_| broken("no window"))?;
                self.window += usize::try_from(room).unwrap_or(usize::MAX);
            }
            // Who has answered may say that the rest of a question is not wanted.
            RESET if !self.due.contains_key(&stream) => {}
            RESET | GOAWAY => return Err(broken("the server ended it")),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            heard(self.due.remove(&stream).ok_or_else(|| broken("an answer to nothing"))?);
        }
        Ok(())
    }
}

impl Wire for Grpc {
    fn free(&self) -> bool {
        self.due.len() < self.streams && self.window >= self.message.len()
    }

    fn ask(&mut self, due: Instant) -> Result<()> {
        let mut frames = frame(HEADERS, END_HEADERS, self.next, &self.head);
        frames.extend(frame(DATA, END_STREAM, self.next, &self.message));
        self.stream.write_all(&frames)?;
        self.due.insert(self.next, due);
        self.window -= self.message.len();
        self.next += 2;
        Ok(())
    }

    fn hear(&mut self, heard: &mut dyn FnMut(Instant)) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        if take(&mut self.stream, &mut buffer)? {
            let mut rest = buffer.as_slice();
            while let Some(([a, b, c, kind, flags, d, e, f, g], after)) = rest.split_first_chunk::<9>() {
                let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX);
                let Some((payload, after)) = after.split_at_checked(length) else { break };
                self.receive(*kind, *flags, u32::from_be_bytes([*d, *e, *f, *g]), payload, heard)?;
                rest = after;
            }
            let kept = rest.len();
            buffer.drain(..buffer.len() - kept);
            if self.taken > 16 * 1024 {
                self.stream.write_all(&frame(WINDOW, 0, 0, &self.taken.to_be_bytes()))?;
                self.taken = 0;
            }
        }
        self.buffer = buffer;
        Ok(())
    }

    fn under_way(&self) -> usize {
        self.due.len()
    }
}

/// Milliseconds within which that share of the sorted times lies.
fn within(times: &[Duration], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a rank")]
    let rank = (times.len() as f64 * share).ceil() as usize;
    times.get(rank.saturating_sub(1)).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}

fn run(wire: &mut dyn Wire, rate: f64, lasting: Duration) -> Result<Vec<Duration>> {
    let gap = Duration::from_secs_f64(1.0 / rate);
    let mut times = Vec::new();
    let begun = Instant::now();
    let (counted, end) = (begun + WARMING, begun + WARMING + lasting);
    let mut due = begun;
    while due < end || wire.under_way() > 0 {
        let mut now = Instant::now();
        while due <= now && due < end && wire.free() {
            wire.ask(due)?;
            due += gap;
            now = Instant::now();
        }
        wire.hear(&mut |asked| {
            if asked >= counted {
                times.push(asked.elapsed());
            }
        })?;
        if now > end + PATIENCE {
            return Err(broken("it does not keep up"));
        }
    }
    times.sort_unstable();
    Ok(times)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Without arguments it does nothing, so that `cargo bench` ends.
    let [wire, address, rate, seconds, at_once, file, more @ ..] = arguments.as_slice() else { return Ok(()) };
    let number = |text: &str| text.parse::<f64>().map_err(|_| broken(text));
    let at_once: usize = at_once.parse().map_err(|_| broken(at_once))?;
    let content = std::fs::read(file)?;
    let mut wire: Box<dyn Wire> = match (*wire, more) {
        ("http", []) => Box::new(Http::new(address, at_once, content)?),
        ("grpc", [path, headers @ ..]) => {
            let (pairs, _) = headers.as_chunks::<2>();
            let headers: Vec<(&str, &str)> = pairs.iter().map(|[name, value]| (*name, *value)).collect();
            Box::new(Grpc::new(address, at_once, content, path, &headers)?)
        }
        _ => return Err(broken("`http` or `grpc`")),
    };
    let (rate, lasting) = (number(rate)?, Duration::from_secs_f64(number(seconds)?));
    let times = run(&mut *wire, rate, lasting)?;
    let [median, slow, slower] = [0.5, 0.99, 0.999].map(|share| within(&times, share));
    println!("{} answers, p50 {median:.3} p99 {slow:.3} p99.9 {slower:.3} ms", times.len());
    Ok(())
}
