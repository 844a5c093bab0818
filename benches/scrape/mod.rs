//! What a server says of itself on `/metrics`.

use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// All samples of a server, by name with labels.
#[derive(Debug, Default, Clone)]
pub(crate) struct Samples(BTreeMap<String, f64>);

impl Samples {
    /// Asks the metrics port of a server.
    pub(crate) async fn of(address: &str) -> Result<Samples, Failed> {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let lines = answer.lines().filter(|line| line.starts_with("palisade_"));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Ok(Samples(lines.filter_map(sample).collect()))
    }

    /// The sum over all samples of a name, whatever their labels.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let is_it = |sample: &str| sample == name || sample.starts_with(&format!("{name}{{"));
        self.0.iter().filter(|(sample, _)| is_it(sample)).map(|(_, value)| value).sum()
    }
}
