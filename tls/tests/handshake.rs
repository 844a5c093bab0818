//! Who comes in, who is let in by whom, and what is refused: over real sockets.

use futures::StreamExt as _;
use palisade_tls::authority::{Authority, Issued, params};
use palisade_tls::{Bounds, Dial, Identity, Kind, Peer, Tls, TlsArgs, TlsError, incoming};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tonic::transport::server::Connected as _;
use tower_service::Service as _;

const BOUNDS: Bounds = Bounds { strangers: 8, known: 8, greeting: Duration::from_secs(30) };

struct Place {
    _directory: tempfile::TempDir,
    authority: Authority,
}

fn place() -> Place {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path()).expect("an authority");
    Place { _directory: directory, authority }
}

fn args(issued: &Issued) -> TlsArgs {
    let Issued { cacert, cert, key } = issued.clone();
    TlsArgs { cacert: Some(cacert), cert: Some(cert), key: Some(key) }
}

fn load(issued: &Issued) -> Tls {
    args(issued).load().expect("it can be used").expect("all files are named")
}

fn who(text: &str) -> Identity {
    text.parse().expect("an identity")
}

impl Place {
    fn tls(&self, identity: &str) -> Tls {
        load(&self.authority.issue(&who(identity)).expect("a certificate"))
    }

    fn odd(&self, params: CertificateParams) -> Issued {
        self.authority.issue_as("odd", params).expect("a certificate")
    }
}

/// Serves: says back what it hears, and who was let in.
async fn serve(tls: Option<Tls>, bounds: Bounds) -> (SocketAddr, mpsc::Receiver<Peer>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let (told, peers) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut connections = Box::pin(incoming(listener, tls, bounds));
        while let Some(Ok(mut connection)) = connections.next().await {
            told.send(connection.connect_info()).await.expect("the test goes on");
            tokio::spawn(async move {
                let mut byte = [0];
                while matches!(connection.read(&mut byte).await, Ok(1)) {
                    let said = connection.write_all(&byte).await;
                    if said.is_err() || connection.flush().await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, peers)
}

/// Says a byte to whom it reaches, and whether it came back.
async fn speak(mut dial: Dial, address: SocketAddr) -> Result<(), String> {
    let uri = format!("http://{address}").parse().expect("an address");
    let mut stream = dial.call(uri).await.map_err(|error| error.to_string())?.into_inner();
    let said = async {
        stream.write_all(b"x").await?;
        stream.flush().await?;
        let mut back = [0];
        stream.read_exact(&mut back).await?;
        if back == *b"x" { Ok(()) } else { Err(std::io::Error::other("something else")) }
    };
    said.await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn each_end_knows_who_the_other_is() {
    let place = place();
    let (address, mut peers) = serve(Some(place.tls("spiffe://prod/coordinator/c1")), BOUNDS).await;
    for kind in Kind::ALL {
        let identity = Identity { cluster: "prod".into(), kind, name: "one".into() };
        let dial = Dial::new(Some(place.tls(&identity.to_string())), Kind::Coordinator);
        speak(dial, address).await.expect("both are of this cluster");
        assert_eq!(peers.recv().await.expect("it was let in").identity, Some(identity));
    }
}

#[tokio::test]
async fn without_tls_nobody_says_who_he_is() {
    let (address, mut peers) = serve(None, BOUNDS).await;
    speak(Dial::new(None, Kind::Coordinator), address).await.expect("it answers");
    assert_eq!(peers.recv().await.expect("it was let in").identity, None);
}

/// Each of these certificates is refused by a server, before anybody is told of the connection.
#[tokio::test]
async fn a_server_refuses_who_is_not_of_its_cluster() {
    let place = place();
    let server = place.tls("spiffe://prod/coordinator/c1");
    let (address, mut peers) = serve(Some(server), BOUNDS).await;
    let agent = "spiffe://prod/agent/n1";
    let elsewhere = tempfile::tempdir().expect("a directory");
    let other = Authority::new(elsewhere.path()).expect("another authority");
    let foreign = other.issue(&who(agent)).expect("a certificate");
    let mut dated = Vec::new();
    for (from, to) in [(2020, 2021), (2090, 2091)] {
        let mut params = params(&[agent]).expect("an identity");
        (params.not_before, params.not_after) =
            (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        dated.push(params);
    }
    let mut refused: Vec<(String, Issued)> = vec![("of another authority".into(), foreign)];
    for (number, params) in dated.into_iter().enumerate() {
        let issued = place.authority.issue_as(&format!("dated-{number}"), params);
        refused.push((format!("not valid now, {number}"), issued.expect("a certificate")));
    }
    let cluster = place.authority.issue(&who("spiffe://test/agent/n9")).expect("a certificate");
    refused.push(("of another cluster".into(), cluster));
    for (what, mut issued) in refused {
        // It accepts the server: what is refused is the caller.
        issued.cacert = place.authority.issue(&who(agent)).expect("a certificate").cacert;
        let said = match args(&issued).load() {
            Ok(tls) => {
                let dial = Dial::new(tls, Kind::Coordinator);
                speak(dial, address).await.expect_err(&what)
            }
            Err(error) => panic!("{what}: {error}"),
        };
        assert!(!said.is_empty(), "{what}");
    }
    assert!(peers.try_recv().is_err(), "nobody was let in");
    speak(Dial::new(Some(place.tls(agent)), Kind::Coordinator), address).await.expect("it serves");
}

/// A certificate that names nobody, several, or somebody oddly is not even one's own.
#[test]
fn an_odd_certificate_is_not_used() {
    let place = place();
    let one = "spiffe://prod/agent/n1";
    let odd: [&[&str]; 6] = [
        &[],
        &[one, "spiffe://prod/agent/n2"],
        &[one, one],
        &["spiffe://prod/agent/N1"],
        &["spiffe://prod/agent/../coordinator/c1"],
        &["https://prod/agent/n1"],
    ];
    for uris in odd {
        let issued = place.odd(params(uris).expect("it can be signed"));
        let error = args(&issued).load().expect_err("it is odd");
        assert!(matches!(error, TlsError::Unusable { .. }), "{uris:?}: {error}");
    }
}

/// A caller whose own build doesn't look at its certificate is refused all the same.
#[tokio::test]
async fn a_server_looks_at_odd_certificates_itself() {
    let place = place();
    let (address, mut peers) = serve(Some(place.tls("spiffe://prod/coordinator/c1")), BOUNDS).await;
    let one = "spiffe://prod/agent/n1";
    let odd: [&[&str]; 4] = [
        &[],
        &[one, "spiffe://prod/agent/n2"],
        &["spiffe://prod/agent/N1"],
        &["spiffe://prod/x/y"],
    ];
    for uris in odd {
        let issued = place.odd(params(uris).expect("it can be signed"));
        bare(&issued, address, true).await.expect_err("it is odd");
    }
    let issued = place.odd(params(&[one]).expect("an identity"));
    bare(&issued, address, false).await.expect_err("it shows none");
    let key = KeyPair::generate().expect("a key");
    let own = params(&[one]).expect("an identity").self_signed(&key).expect("a certificate");
    std::fs::write(&issued.cert, own.pem()).expect("written");
    std::fs::write(&issued.key, key.serialize_pem()).expect("written");
    bare(&issued, address, true).await.expect_err("it has signed itself");
    assert!(peers.try_recv().is_err(), "nobody was let in");
    let issued = place.odd(params(&[one]).expect("an identity"));
    bare(&issued, address, true).await.expect("the way of asking is right");
}

/// Speaks with rustls alone.
async fn bare(issued: &Issued, address: SocketAddr, shows: bool) -> Result<(), String> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(std::sync::Arc::new(Anybody));
    let mut config = if shows {
        let chain = CertificateDer::pem_file_iter(&issued.cert).expect("a file");
        let chain: Result<Vec<_>, _> = chain.collect();
        let key = PrivateKeyDer::from_pem_file(&issued.key).expect("a key");
        config.with_client_auth_cert(chain.expect("PEM"), key).expect("they go together")
    } else {
        config.with_no_client_auth()
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let stream = TcpStream::connect(address).await.expect("it listens");
    let name = ServerName::try_from("localhost").expect("a name");
    let said = async {
        let mut stream = connector.connect(name, stream).await?;
        stream.write_all(b"x").await?;
        stream.flush().await?;
        stream.read_exact(&mut [0]).await
    };
    said.await.map(drop).map_err(|error: std::io::Error| error.to_string())
}

/// Accepts any server: only the server's own checks are looked at.
#[derive(Debug)]
struct Anybody;

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A caller refuses servers of another kind, cluster or authority, and those without TLS.
#[tokio::test]
async fn a_caller_refuses_who_is_not_whom_it_wants() {
    let (place, elsewhere) = (place(), self::place());
    let caller = place.tls("spiffe://prod/agent/n1");
    let servers = [
        ("of another kind", place.tls("spiffe://prod/agent/n2")),
        ("a user", place.tls("spiffe://prod/user/admin/eve")),
        ("of another cluster", place.tls("spiffe://test/coordinator/c1")),
        ("of another authority", elsewhere.tls("spiffe://prod/coordinator/c1")),
    ];
    for (what, server) in servers {
        let (address, _peers) = serve(Some(server), BOUNDS).await;
        let dial = Dial::new(Some(caller.clone()), Kind::Coordinator);
        speak(dial, address).await.expect_err(what);
    }
    let (plain, _peers) = serve(None, BOUNDS).await;
    speak(Dial::new(Some(caller.clone()), Kind::Coordinator), plain).await.expect_err("no TLS");
    let (address, _peers) = serve(Some(place.tls("spiffe://prod/coordinator/c1")), BOUNDS).await;
    speak(Dial::new(None, Kind::Coordinator), address).await.expect_err("not without TLS");
    let dial = Dial::new(Some(caller), Kind::Coordinator);
    speak(dial.clone().named("c2"), address).await.expect_err("of another name");
    speak(dial.clone().named("c1"), address).await.expect("of this name");
    speak(dial, address).await.expect("the right one");
}

/// New certificates are used by the next connection on both sides; those that are open go on.
#[tokio::test]
async fn certificates_are_exchanged_while_it_serves() {
    let (old, new) = (place(), place());
    let (c1, n1) = ("spiffe://prod/coordinator/c1", "spiffe://prod/agent/n1");
    let files = |place: &Place, who: &str| place.authority.issue(&self::who(who)).expect("one");
    let (server_files, caller_files) = (files(&old, c1), files(&old, n1));
    let (server, caller) = (load(&server_files), load(&caller_files));
    let (address, mut peers) = serve(Some(server.clone()), BOUNDS).await;
    let mut dial = Dial::new(Some(caller.clone()), Kind::Coordinator);
    let uri: tonic::codegen::http::Uri = format!("http://{address}").parse().expect("an address");
    let mut open = dial.call(uri).await.expect("the same authority").into_inner();
    peers.recv().await.expect("it was let in");

    let put = |from: &Issued, to: &Issued| {
        for (from, to) in [(&from.cacert, &to.cacert), (&from.cert, &to.cert), (&from.key, &to.key)]
        {
            std::fs::copy::<&PathBuf, &PathBuf>(from, to).expect("copied");
        }
    };
    // Half of a change is no certificate; it stays as it is.
    let next = files(&new, c1);
    std::fs::copy(&next.cert, &server_files.cert).expect("copied");
    server.reload();
    speak(dial.clone(), address).await.expect("the old one is still in use");
    put(&next, &server_files);
    server.reload();
    speak(dial.clone(), address).await.expect_err("it knows only the old authority");
    // The two share the file of the old authority, which is the new one's by now.
    put(&files(&new, n1), &caller_files);
    caller.reload();
    speak(dial, address).await.expect("both are new");
    open.write_all(b"x").await.expect("it is open");
    open.flush().await.expect("it is open");
    open.read_exact(&mut [0]).await.expect("it goes on");

    // Somebody else's certificate is no renewal.
    put(&files(&new, "spiffe://prod/agent/n2"), &caller_files);
    caller.reload();
    assert_eq!(caller.identity(), who(n1));
}

/// A client, which serves nobody, finds new certificates by itself.
#[tokio::test]
async fn who_dials_finds_new_certificates() {
    let (old, new) = (place(), place());
    let files = old.authority.issue(&who("spiffe://prod/router/app")).expect("a certificate");
    let caller = load(&files);
    let (address, _peers) = serve(Some(new.tls("spiffe://prod/agent/n1")), BOUNDS).await;
    let dial = Dial::new(Some(caller), Kind::Agent);
    speak(dial.clone(), address).await.expect_err("of another authority");
    let next = new.authority.issue(&who("spiffe://prod/router/app")).expect("a certificate");
    for (from, to) in [(next.cacert, files.cacert), (next.cert, files.cert), (next.key, files.key)]
    {
        std::fs::copy(from, to).expect("copied");
    }
    let found = async {
        while speak(dial.clone(), address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), found).await.expect("it looks again");
}

/// A connection ends with the certificate that its caller has shown, whoever it is.
#[tokio::test]
async fn no_connection_outlives_its_certificate() {
    let place = place();
    let (address, mut peers) = serve(Some(place.tls("spiffe://prod/coordinator/c1")), BOUNDS).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let mut short = params(&["spiffe://prod/agent/n1"]).expect("an identity");
    short.not_after = date_time_ymd(1970, 1, 1) + now + Duration::from_secs(8);
    let short = load(&place.odd(short));
    let uri = || format!("http://{address}").parse().expect("an address");
    let mut open = Vec::new();
    for tls in [short, place.tls("spiffe://prod/agent/n1")] {
        let mut dial = Dial::new(Some(tls), Kind::Coordinator);
        open.push(dial.call(uri()).await.expect("it is good").into_inner());
        assert!(peers.recv().await.expect("it was let in").make_known());
    }
    let ended = open[0].read(&mut [0]).await;
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
    open[1].write_all(b"x").await.expect("it is open");
    open[1].flush().await.expect("it is open");
    open[1].read_exact(&mut [0]).await.expect("it is still good");
}

/// Who doesn't say who he is, or says it and asks nothing, is ended after a while.
#[tokio::test]
async fn silent_connections_are_ended() {
    let place = place();
    let bounds = Bounds { greeting: Duration::from_millis(300), ..BOUNDS };
    let (address, mut peers) = serve(Some(place.tls("spiffe://prod/coordinator/c1")), bounds).await;
    let mut silent = TcpStream::connect(address).await.expect("it listens");
    let mut dial = Dial::new(Some(place.tls("spiffe://prod/user/viewer/bob")), Kind::Coordinator);
    let uri = format!("http://{address}").parse().expect("an address");
    let mut shown = dial.call(uri).await.expect("it is let in").into_inner();
    peers.recv().await.expect("it was let in");
    let ended = silent.read(&mut [0]).await;
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
    let ended = shown.read(&mut [0]).await;
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
}

/// However many strangers hold what places there are, who comes is heard, and who is known stays.
#[tokio::test]
async fn strangers_keep_nobody_out() {
    let place = place();
    let bounds = Bounds { strangers: 3, known: 1, greeting: Duration::from_secs(3_600) };
    let (address, mut peers) = serve(Some(place.tls("spiffe://prod/coordinator/c1")), bounds).await;
    let caller = || Dial::new(Some(place.tls("spiffe://prod/agent/n1")), Kind::Coordinator);
    let uri = || format!("http://{address}").parse().expect("an address");
    let mut known = caller().call(uri()).await.expect("it is let in").into_inner();
    let peer = peers.recv().await.expect("it was let in");
    assert_eq!(peer.identity, Some(who("spiffe://prod/agent/n1")));
    assert!(peer.make_known());
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(TcpStream::connect(address).await.expect("it listens"));
    }
    speak(caller(), address).await.expect("the oldest goes for it");
    let peer = peers.recv().await.expect("it was let in");
    assert!(!peer.make_known(), "there is one place");
    for mut stream in silent.drain(..7) {
        let ended = stream.read(&mut [0]).await;
        assert!(!matches!(ended, Ok(1..)), "{ended:?}");
    }
    known.write_all(b"x").await.expect("it is open");
    known.flush().await.expect("it is open");
    known.read_exact(&mut [0]).await.expect("it is known");
}

#[test]
fn files_that_are_not_there_are_named_with_their_flag() {
    let place = place();
    let issued = place.authority.issue(&who("spiffe://prod/agent/n1")).expect("a certificate");
    let mut gone = issued.clone();
    gone.key = "/nowhere/n1.key".into();
    let error = args(&gone).load().expect_err("it is not there").to_string();
    assert!(error.contains("/nowhere/n1.key") && error.contains("--key"), "{error}");
    let other = place.authority.issue(&who("spiffe://prod/agent/n2")).expect("a certificate");
    let mixed = Issued { key: other.key, ..issued };
    let error = args(&mixed).load().expect_err("they don't go together");
    assert!(matches!(error, TlsError::Unusable { .. }), "{error}");
}
