//! From when until when a certificate is good: to tell people in time, and to end connections. What
//! is accepted, `verify.rs` and rustls decide.

use rustls::pki_types::CertificateDer;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// From when until when a certificate is good, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub from_s: i64,
    /// Not after.
    pub until_s: i64,
}

impl Validity {
    /// How long it is still good, by the clock on the wall; zero once it is not.
    pub(crate) fn rest(self) -> Duration {
        let until = Duration::from_secs(u64::try_from(self.until_s).unwrap_or_default());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        until.saturating_sub(now)
    }
}

/// None where the certificate can't be read.
pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let validity = parsed.validity();
    let (from_s, until_s) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    Some(Validity { from_s, until_s })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::{Authority, params};
    use rustls::pki_types::pem::PemObject as _;

    #[test]
    fn a_certificate_says_from_when_until_when() {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = Authority::new(directory.path()).expect("an authority");
        let mut wanted = params(&["spiffe://test/agent/n1"]).expect("a URI");
        wanted.not_before = rcgen::date_time_ymd(2026, 1, 1);
        wanted.not_after = rcgen::date_time_ymd(2026, 1, 2);
        let issued = authority.issue_as("n1", wanted).expect("a certificate");
        let read = CertificateDer::from_pem_file(&issued.cert).expect("PEM");
        let from_s = 1_767_225_600;
        assert_eq!(of(&read), Some(Validity { from_s, until_s: from_s + 86_400 }));
        assert_eq!(of(&CertificateDer::from(vec![1, 2, 3])), None);
    }
}
